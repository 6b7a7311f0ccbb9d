//! `wharf doctor`, on a machine as it is and on one where io_uring is forbidden; and how every
//! command names its backend.

use std::process::Command;

use serde_json::Value;

use crate::Case;
use crate::fixture::{Verdict, forbid_io_uring, limit_descriptors};
use crate::program::{Run, wharf};

pub(crate) const CASES: &[Case] = &[
    ("doctor_tells_programs", doctor_tells_programs),
    ("doctor_tells_people", doctor_tells_people),
    ("doctor_explains_a_filter", doctor_explains_a_filter),
    (
        "doctor_says_of_a_backend_what_a_queue_finds",
        doctor_says_of_a_backend_what_a_queue_finds,
    ),
    (
        "backend_that_is_not_to_be_had_is_a_failure",
        backend_that_is_not_to_be_had_is_a_failure,
    ),
    (
        "backend_that_nobody_knows_is_wrong_use",
        backend_that_nobody_knows_is_wrong_use,
    ),
    ("help_teaches", help_teaches),
];

fn doctor(backend: &str, words: &[&str]) -> Command {
    let mut command = wharf(&[&["doctor"], words].concat());
    command.env("WHARF_BACKEND", backend);
    command
}

fn json(command: Command) -> Value {
    serde_json::from_str(&Run::of(command).succeeds()).expect("it is JSON")
}

fn backend<'a>(report: &'a Value, name: &str) -> &'a Value {
    let backends = report["backends"].as_array().expect("a list");
    let found = backends.iter().find(|backend| backend["name"] == name);
    found.expect("every backend of the build is listed")
}

fn doctor_tells_programs(name: &str) {
    let report = json(doctor(name, &["--json"]));
    assert_eq!(report["chosen"], name);
    assert!(
        report["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("WHARF_BACKEND"))
    );
    let mine = backend(&report, name);
    assert_eq!(mine["available"], true);
    assert!(
        mine["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty())
    );
    let features = mine["features"].as_object().expect("an object");
    assert!(
        !features.is_empty() && features.values().all(Value::is_boolean),
        "{features:?}"
    );
    if cfg!(windows) {
        // What there is to tell of the machine is about Linux.
        assert!(report["host"].is_object(), "{report}");
        return;
    }
    let host = &report["host"];
    assert!(
        host["kernel"]
            .as_str()
            .is_some_and(|kernel| !kernel.is_empty())
    );
    assert!(host["seccomp"].is_string(), "{host}");
    for limit in ["memlock_bytes", "open_files"] {
        let soft = &host[limit]["soft"];
        assert!(soft.is_u64() || *soft == "unlimited", "{limit}: {host}");
    }
    assert!(host.get("io_uring_disabled").is_some(), "{host}");
}

fn doctor_tells_people(name: &str) {
    let out = Run::of(doctor(name, &[])).succeeds();
    assert!(out.starts_with(&format!("chosen  {name}: ")), "{out}");
    assert!(out.contains(&format!("{name}  available")), "{out}");
    if cfg!(unix) {
        assert!(out.contains("io_uring  "), "{out}");
        assert!(
            out.contains("kernel.io_uring_disabled") && out.contains("open files"),
            "{out}"
        );
    }
    assert!(!out.contains('\x1b'), "{out}");
}

/// The same on either backend: io_uring cannot be had, and epoll can.
fn doctor_explains_a_filter(_: &str) {
    for verdict in [Verdict::Refused, Verdict::Killed] {
        let mut command = doctor("auto", &["--json"]);
        forbid_io_uring(&mut command, verdict);
        let report = json(command);
        assert_eq!(report["chosen"], "epoll", "{verdict:?}: {report}");
        let reason = report["reason"].as_str().expect("text");
        assert!(reason.contains("seccomp"), "{verdict:?}: {reason}");
        let ring = backend(&report, "io_uring");
        assert_eq!(ring["available"], false);
        assert!(
            ring["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains("seccomp"))
        );
        assert_eq!(report["host"]["seccomp"], "filter");
        assert!(
            report["advice"]
                .to_string()
                .contains("docker run --security-opt"),
            "{report}"
        );

        let mut command = doctor("auto", &[]);
        forbid_io_uring(&mut command, verdict);
        let out = Run::of(command).succeeds();
        assert!(
            out.contains("io_uring  not available") && out.contains("what would help"),
            "{out}"
        );

        let mut command = wharf(&["tour"]);
        forbid_io_uring(&mut command, verdict);
        assert!(Run::of(command).succeeds().contains("epoll"));
    }
}

/// With few descriptors a ring can be had and what wakes its queue cannot.
fn doctor_says_of_a_backend_what_a_queue_finds(name: &str) {
    let mut seen = [0, 0];
    // With fewer, the loader of programs finds no place for a library.
    for descriptors in 4..=6 {
        let mut command = doctor(name, &["--json"]);
        limit_descriptors(&mut command, descriptors);
        let run = Run::of(command);
        let report: Value = serde_json::from_str(&run.out).expect("it is JSON");
        let mine = backend(&report, name);
        let is_made = report["chosen"] == name;
        assert_eq!(mine["available"], is_made, "{descriptors}: {report}");
        seen[usize::from(is_made)] += 1;
        if is_made {
            run.succeeds();
        } else {
            assert!(mine["reason"].to_string().contains("ulimit -n"), "{mine}");
            run.fails(1, &["ulimit -n"]);
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "both were to be seen: {seen:?}");
}

fn backend_that_is_not_to_be_had_is_a_failure(_: &str) {
    for verdict in [Verdict::Refused, Verdict::Killed] {
        for words in [["tour"], ["echo"], ["delay"]] {
            let mut command = wharf(&[&words[..], &["--backend", "io_uring"]].concat());
            forbid_io_uring(&mut command, verdict);
            Run::of(command).fails(1, &["io_uring is not to be had", "seccomp"]);
        }
        // The report is whole all the same.
        let mut command = doctor("io_uring", &["--json"]);
        forbid_io_uring(&mut command, verdict);
        let run = Run::of(command);
        let report: Value = serde_json::from_str(&run.out).expect("it is JSON");
        assert_eq!(report["chosen"], Value::Null);
        assert_eq!(backend(&report, "epoll")["available"], true);
        run.fails(1, &["seccomp"]);
    }
}

fn backend_that_nobody_knows_is_wrong_use(name: &str) {
    for command in ["tour", "echo", "delay"] {
        let words = ["unknown backend 'nope'", name];
        Run::of(wharf(&[command, "--backend", "nope"])).fails(2, &words);
        let mut asked = wharf(&[command]);
        asked.env("WHARF_BACKEND", "nope");
        Run::of(asked).fails(2, &words);
    }
    Run::of(doctor("nope", &[])).fails(2, &["WHARF_BACKEND", "unknown backend 'nope'"]);
    // Where the command line decides, the environment is not looked at.
    let mut asked = wharf(&["tour", "--backend", name]);
    asked.env("WHARF_BACKEND", "nope");
    Run::of(asked).succeeds();
    Run::of(wharf(&["nope"])).fails_as_wrong_use();
    Run::of(wharf(&["tour", "--nope"])).fails_as_wrong_use();
}

fn help_teaches(_: &str) {
    for command in ["doctor", "tour", "echo", "delay"] {
        let out = Run::of(wharf(&[command, "--help"])).succeeds();
        assert!(
            out.contains("Examples:") && out.contains(&format!("wharf {command}")),
            "{out}"
        );
    }
    let run = Run::of(wharf(&[]));
    assert!(
        run.code == Some(2) && run.error.contains("wharf tour"),
        "{run:?}"
    );
}
