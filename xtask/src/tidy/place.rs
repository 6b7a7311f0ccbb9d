//! Checks of where things may stand: conditions on the operating system, unsafe code, the crates
//! that name system calls, and clocks.
//!
//! The lists of allowed places are the architecture in numbers: a new place is a decision, made
//! here and reviewed as one.

use super::Finding;
use super::source::sleeps;
use crate::scan::{Source, find_word};

/// The queue's own sources.
const QUEUE: &str = "crates/wharf-queue/src/";

/// What below the queue's sources may hold unsafe code: a module as one file or as a directory.
const UNSAFE_MODULES: &[&str] = &[
    "sys",
    "slot",
    "buf",
    "bufpool",
    "op",
    "handle",
    "pool",
    "os",
    "backend/uring",
    "backend/iocp",
    "notify",
];

/// Words in a `cfg` that tell operating systems apart.
const SYSTEM_WORDS: &[&str] = &[
    "target_os",
    "target_family",
    "target_env",
    "target_vendor",
    "unix",
    "windows",
];

/// Crates that name system calls.
const SYSTEM_CRATES: &[&str] = &["libc", "rustix", "windows_sys"];

/// Whether `path` is the module `module` (without `.rs`), or lies below it.
fn is_module(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Whether a directory or the file itself has one of these names.
fn has_part(path: &str, names: &[&str]) -> bool {
    path.split('/')
        .any(|part| names.contains(&part.trim_end_matches(".rs")))
}

/// Tests in files of their own: `tests/..`, and unit tests moved out to a `tests.rs`.
pub(super) fn is_test_file(path: &str) -> bool {
    has_part(path, &["tests"])
}

pub(super) fn is_example(path: &str) -> bool {
    has_part(path, &["examples"])
}

/// Files that prepare the system for a test.
fn is_fixture(path: &str) -> bool {
    has_part(path, &["fixture", "fixtures"])
}

/// Tests, fixtures, benchmarks and automation: code that no user of the library runs.
fn is_beside(path: &str) -> bool {
    is_test_file(path)
        || is_fixture(path)
        || has_part(path, &["benches"])
        || path.starts_with("bench/")
        || path.starts_with("fuzz/")
        || path.starts_with("xtask/")
}

/// Conditions on the operating system stand at the seams, not in the code between them.
pub(super) fn system_cfg(source: &Source) -> Vec<Finding> {
    let path = &source.path;
    if path.ends_with("backend/mod.rs")
        || has_part(path, &["sys", "os"])
        || is_beside(path)
        || is_example(path)
    {
        return Vec::new();
    }
    let is_root = path.ends_with("/lib.rs") || path.ends_with("/main.rs");
    source
        .cfgs()
        .into_iter()
        .filter_map(|(at, arguments)| {
            let word = SYSTEM_WORDS.iter().find(|word| find_word(arguments, word).next().is_some())?;
            (!(is_root && declares_system_module(source, at))).then(|| {
                let message = format!(
                    "`{word}` is asked outside the seams; move it to backend/mod.rs, sys/, os/ or a test fixture"
                );
                Finding::error(path, source.line_of(at), message)
            })
        })
        .collect()
}

/// Whether the attribute at `position` stands on `mod os` or `mod sys`.
fn declares_system_module(source: &Source, position: usize) -> bool {
    let Some(item) = source.item_after(position) else {
        return false;
    };
    let declaration = source.code[item..]
        .split([';', '{'])
        .next()
        .unwrap_or_default();
    let mut words = declaration.split_whitespace().rev();
    matches!(words.next(), Some("os" | "sys")) && words.next() == Some("mod")
}

/// Where unsafe code may stand when the file is marked.
fn may_hold_unsafe(path: &str) -> bool {
    let in_queue = path
        .strip_prefix(QUEUE)
        .is_some_and(|rest| UNSAFE_MODULES.iter().any(|module| is_module(rest, module)));
    in_queue || path.starts_with("crates/wharf-fiber/") || is_beside(path) || is_example(path)
}

/// Whether the file lifts the denial of unsafe code, and at which line.
fn opt_out(source: &Source) -> Option<usize> {
    source.find_word("unsafe_code").find_map(|at| {
        let before = source.code[..at].rfind("#![")?;
        let level = source.code[before + 3..at].trim();
        (level.starts_with("expect(") || level.starts_with("allow(")).then(|| source.line_of(at))
    })
}

/// Unsafe code stands in marked files of few places.
pub(super) fn unsafe_code(source: &Source) -> Vec<Finding> {
    let path = &source.path;
    let first = source
        .find_word("unsafe")
        .next()
        .map(|at| source.line_of(at));
    let opt_out = opt_out(source);
    let Some(line) = first.or(opt_out) else {
        return Vec::new();
    };
    if !may_hold_unsafe(path) {
        let message = "unsafe code may not stand in this file; move it behind a safe function in sys/, or into the \
             slots, buffers or ring code";
        return vec![Finding::error(path, line, message)];
    }
    let mut findings = Vec::new();
    if opt_out.is_none() {
        let message = "the file holds unsafe code without saying so; add #![expect(unsafe_code)] below its head";
        findings.push(Finding::error(path, line, message));
    }
    if first.is_none() {
        let message = "the file allows unsafe code and holds none; remove the attribute";
        findings.push(Finding::error(path, line, message));
    }
    let has_reason = source.comments.iter().any(|comment| {
        comment
            .split_once("UNSAFETY:")
            .is_some_and(|(_, reason)| !reason.trim().is_empty())
    });
    if !has_reason {
        let message = "the file gives no reason for its unsafe code; add a line // UNSAFETY: why it is needed";
        findings.push(Finding::error(path, line, message));
    }
    findings
}

/// System calls are named in `sys`, in the ring code and in what knows one system by design.
pub(super) fn system_crates(source: &Source) -> Vec<Finding> {
    let path = &source.path;
    let is_marked_example = is_example(path) && opt_out(source).is_some();
    // A user's code that has a loop of its own calls the system by a safe crate, and so does an
    // example of it.
    let is_safe_call = |name: &str| is_example(path) && name == "rustix";
    if has_part(path, &["sys", "os"])
        || path.contains("/backend/uring")
        || path.contains("/backend/iocp")
        || is_beside(path)
        || is_marked_example
    {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for name in SYSTEM_CRATES.iter().filter(|name| !is_safe_call(name)) {
        for at in source.find_word(name) {
            let after = &source.code[at + name.len()..];
            let before = source.code[..at].trim_end();
            let is_import = find_word(before, "use").last() == Some(before.len().saturating_sub(3));
            let line = source.line_of(at);
            if (after.starts_with("::") || is_import) && !source.is_test_line(line) {
                let message = format!(
                    "`{name}` is named outside sys/, backend/uring and os/; call a safe wrapper in sys/"
                );
                findings.push(Finding::error(path, line, message));
            }
        }
    }
    findings
}

/// Nothing of the queue above its backends reads a clock or sleeps, so that the simulator can stand
/// in for time.
pub(super) fn clocks(source: &Source) -> Vec<Finding> {
    let Some(rest) = source.path.strip_prefix(QUEUE) else {
        return Vec::new();
    };
    if is_module(rest, "sys") || is_module(rest, "backend") || is_test_file(rest) {
        return Vec::new();
    }
    let mut positions = sleeps(source);
    for call in ["Instant::now", "SystemTime::now", ".elapsed()"] {
        positions.extend(source.code.match_indices(call).map(|(at, _)| at));
    }
    positions.sort_unstable();
    positions
        .into_iter()
        .map(|at| source.line_of(at))
        .filter(|line| !source.is_test_line(*line))
        .map(|line| {
            let message = "the queue reads a clock or sleeps above its backends; ask the backend for the time, so that \
                 the simulator can stand in";
            Finding::error(&source.path, line, message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{clocks, system_cfg, system_crates, unsafe_code};
    use crate::scan::Source;
    use crate::tidy::Finding;

    const NONE: [usize; 0] = [];

    fn lines(check: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        check(&Source::new(path, text))
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn system_cfg_is_refused_between_the_seams() {
        let queue = "crates/wharf-queue/src/queue.rs";
        for text in [
            "#[cfg(target_os = \"linux\")]\nfn a() {}",
            "#[cfg(unix)]\nfn a() {}",
            "#[cfg(not(windows))]\nfn a() {}",
            "#[cfg(any(\n  test,\n  target_os = \"macos\"\n))]\nfn a() {}",
            "#![cfg_attr(unix, allow(x))]",
            "fn a() { if cfg!(target_os = \"linux\") {} }",
        ] {
            assert_eq!(lines(system_cfg, queue, text), [1], "{text}");
        }
        for text in [
            "#[cfg(test)]\nmod tests {}",
            "#[cfg(feature = \"unix\")]\nfn a() {}",
            "// cfg(unix)",
        ] {
            assert_eq!(lines(system_cfg, queue, text), NONE, "{text}");
        }
    }

    #[test]
    fn system_cfg_may_stand_at_the_seams() {
        let text = "#[cfg(unix)]\nfn a() {}";
        for path in [
            "crates/wharf-queue/src/backend/mod.rs",
            "crates/wharf-queue/src/sys/mod.rs",
            "crates/wharf-queue/src/os/unix.rs",
            "crates/wharf-conformance/src/fixtures/child.rs",
            "crates/wharf-conformance/src/fixture.rs",
            "crates/wharf-cli/tests/it/main.rs",
            "crates/wharf-queue/benches/nop.rs",
            "crates/wharf-queue/examples/a.rs",
            "bench/src/main.rs",
            "xtask/src/main.rs",
        ] {
            assert_eq!(lines(system_cfg, path, text), NONE, "{path}");
        }
        assert_eq!(
            lines(system_cfg, "crates/wharf-queue/src/backend/epoll.rs", text),
            [1]
        );
        assert_eq!(
            lines(system_cfg, "crates/wharf-conformance/src/stream.rs", text),
            [1]
        );
    }

    #[test]
    fn system_cfg_in_a_root_stands_only_on_system_modules() {
        let root = "crates/wharf-queue/src/lib.rs";
        let text = "#[cfg(unix)]\n#[doc(hidden)]\npub mod os;\n#[cfg(windows)]\nmod sys { }\n";
        assert_eq!(lines(system_cfg, root, text), NONE);
        let text = "#[cfg(unix)]\nmod pool;\n#[cfg(windows)]\npub use os::x;\n#![cfg(unix)]\n";
        assert_eq!(lines(system_cfg, root, text), [1, 3, 5]);
        let text = "#[cfg(unix)]\nmod os;\nfn a() { if cfg!(unix) {} }\n";
        assert_eq!(lines(system_cfg, root, text), [3]);
    }

    const MARKED: &str = "//! Head.\n#![expect(unsafe_code)]\n// UNSAFETY: the kernel asks for it.\nunsafe fn a() {}\n";

    #[test]
    fn unsafe_code_may_stand_in_marked_files_of_few_places() {
        for path in [
            "crates/wharf-queue/src/sys/linux.rs",
            "crates/wharf-queue/src/slot.rs",
            "crates/wharf-queue/src/bufpool/ring.rs",
            "crates/wharf-queue/src/backend/uring/mod.rs",
            "crates/wharf-fiber/src/stack.rs",
            "crates/wharf-queue/examples/foreign_loop.rs",
            "crates/wharf-queue/tests/it/main.rs",
            "bench/src/main.rs",
        ] {
            assert_eq!(lines(unsafe_code, path, MARKED), NONE, "{path}");
            assert_eq!(
                lines(unsafe_code, path, "fn a() {} // unsafe"),
                NONE,
                "{path}"
            );
        }
        for path in [
            "crates/wharf-queue/src/queue.rs",
            "crates/wharf-queue/src/slots.rs",
            "crates/wharf-queue/src/backend/epoll.rs",
            "crates/wharf/src/net.rs",
        ] {
            assert_eq!(lines(unsafe_code, path, MARKED), [4], "{path}");
        }
        let bare = "#![allow(unsafe_code)]\n";
        assert_eq!(lines(unsafe_code, "crates/wharf/src/net.rs", bare), [1]);
    }

    #[test]
    fn unsafe_code_needs_the_mark_and_the_reason() {
        let path = "crates/wharf-queue/src/slot.rs";
        assert_eq!(
            lines(unsafe_code, path, &MARKED.replace("expect", "allow")),
            NONE
        );
        assert_eq!(
            lines(unsafe_code, path, &MARKED.replace("expect", "deny")),
            [4]
        );
        assert_eq!(
            lines(unsafe_code, path, &MARKED.replace("UNSAFETY:", "NOTE:")),
            [4]
        );
        assert_eq!(
            lines(
                unsafe_code,
                path,
                &MARKED.replace(": the kernel asks for it.", ":")
            ),
            [4]
        );
        assert_eq!(
            lines(unsafe_code, path, &MARKED.replace("unsafe fn", "fn")),
            [2]
        );
        assert_eq!(lines(unsafe_code, path, "unsafe fn a() {}"), [1, 1]);
    }

    #[test]
    fn system_crates_are_named_in_few_places() {
        let text = "use libc;\nuse rustix::fs;\nfn a() { windows_sys::b(); }\n";
        for path in [
            "crates/wharf-queue/src/sys/linux.rs",
            "crates/wharf-queue/src/backend/uring/ring.rs",
            "crates/wharf-queue/src/os/linux.rs",
            "crates/wharf-conformance/src/fixtures/seccomp.rs",
            "crates/wharf-queue/tests/it/main.rs",
            "bench/src/main.rs",
        ] {
            assert_eq!(lines(system_crates, path, text), NONE, "{path}");
        }
        assert_eq!(
            lines(system_crates, "crates/wharf-queue/src/pool.rs", text),
            [1, 2, 3]
        );
        assert_eq!(
            lines(system_crates, "crates/wharf-queue/examples/a.rs", text),
            [1, 3]
        );
        let marked = format!("#![expect(unsafe_code)]\n{text}");
        assert_eq!(
            lines(system_crates, "crates/wharf-queue/examples/a.rs", &marked),
            NONE
        );
        let others = "// libc::read\nfn a(libc: u8) { my_libc::b(); }\n";
        assert_eq!(
            lines(system_crates, "crates/wharf-queue/src/pool.rs", others),
            NONE
        );
        let unit = "#[cfg(test)]\nmod tests {\n  use libc::c_int;\n}\n";
        assert_eq!(
            lines(system_crates, "crates/wharf-queue/src/pool.rs", unit),
            NONE
        );
    }

    #[test]
    fn clocks_are_read_by_backends_alone() {
        let text = "fn a() {\n  Instant::now();\n  SystemTime::now();\n  std::thread::sleep(x);\n  b.elapsed();\n}";
        assert_eq!(
            lines(clocks, "crates/wharf-queue/src/timer.rs", text),
            [2, 3, 4, 5]
        );
        for path in [
            "crates/wharf-queue/src/sys/linux.rs",
            "crates/wharf-queue/src/backend/epoll.rs",
            "crates/wharf-queue/src/timer/tests.rs",
            "crates/wharf-cli/src/main.rs",
        ] {
            assert_eq!(lines(clocks, path, text), NONE, "{path}");
        }
        let unit = format!("#[cfg(test)]\nmod tests {{\n{text}\n}}");
        assert_eq!(
            lines(clocks, "crates/wharf-queue/src/timer.rs", &unit),
            NONE
        );
    }
}
