//! `echo_compare`: echo servers side by side, in one run and one table.

use std::fs;
use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use wharf_bench::args::Args;
use wharf_bench::compare::{Measurement, Plan};
use wharf_bench::programs::{self, Program};
use wharf_bench::server::Spec;
use wharf_bench::sys;

const USAGE: &str = "\
Compares the processor time that echo servers need for a message.

Usage: echo_compare [--server NAME=COMMAND].. [--only NAME,..] [--connections N,..]
                    [--rounds N] [--slices N] [--milliseconds N]
                    [--size BYTES] [--in-flight N]
                    [--server-core N --client-core N | --no-pin]
                    [--peers] [--no-syscalls] [--no-build]

The built-in servers are bare_uring_echo (the io-uring crate), bare_epoll_echo (epoll by hand),
wharf-io_uring and wharf-epoll (`wharf echo --backend ..`), wharf-async and wharf-fiber (`wharf echo
--style ..`, on io_uring). They are built first, with the profile of this program. Ratios are taken to
the first server. A run takes about 70 seconds.

  --peers                 also tokio_echo (tokio, one thread), which has to be built first
  --server NAME=COMMAND   one more server; `--listen 127.0.0.1:0` is added to the command
  --only NAME,..          only these servers, in this order
  --connections N,..      default 64,512
  --rounds N              how often the servers are started anew; default 5
  --slices N              how often each server runs in a round; default 12
  --milliseconds N        measured in each slice; default 100
  --size BYTES            of a message; default 64
  --in-flight N           messages in flight on each connection; default 1, ping-pong
  --server-core N         default 0
  --client-core N         default 1
  --no-pin                leave the cores to the scheduler
  --no-syscalls           do not count the system calls of each server in one more run
  --no-build              take the programs that lie beside this one as they are";

/// A server that this program knows: its name in the table, its program, and its arguments.
struct BuiltIn {
    name: &'static str,
    program: Program,
    arguments: &'static [&'static str],
    /// On another runtime: it takes part when it is asked for.
    is_peer: bool,
}

const fn program(package: &'static str, name: &'static str) -> Program {
    Program {
        package,
        name,
        feature: None,
    }
}

const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "bare_uring_echo",
        program: program("wharf-bench", "bare_uring_echo"),
        arguments: &[],
        is_peer: false,
    },
    BuiltIn {
        name: "bare_epoll_echo",
        program: program("wharf-bench", "bare_epoll_echo"),
        arguments: &[],
        is_peer: false,
    },
    BuiltIn {
        name: "wharf-io_uring",
        program: program("wharf-cli", "wharf"),
        arguments: &["echo", "--backend", "io_uring"],
        is_peer: false,
    },
    BuiltIn {
        name: "wharf-epoll",
        program: program("wharf-cli", "wharf"),
        arguments: &["echo", "--backend", "epoll"],
        is_peer: false,
    },
    BuiltIn {
        name: "tokio_echo",
        program: Program {
            package: "wharf-bench",
            name: "tokio_echo",
            feature: Some("peers"),
        },
        arguments: &[],
        is_peer: true,
    },
    BuiltIn {
        name: "wharf-async",
        program: program("wharf-cli", "wharf"),
        arguments: &["echo", "--style", "async", "--backend", "io_uring"],
        is_peer: false,
    },
    BuiltIn {
        name: "wharf-fiber",
        program: program("wharf-cli", "wharf"),
        arguments: &["echo", "--style", "fiber", "--backend", "io_uring"],
        is_peer: false,
    },
];

/// What is wanted of a server, held against another.
struct Aim {
    server: &'static str,
    reference: &'static str,
    /// The greatest ratio that is well; none where near is all that is asked for.
    at_most: Option<f64>,
}

const AIMS: &[Aim] = &[
    Aim {
        server: "wharf-io_uring",
        reference: "bare_uring_echo",
        at_most: Some(1.15),
    },
    Aim {
        server: "wharf-io_uring",
        reference: "bare_epoll_echo",
        at_most: Some(1.0),
    },
    Aim {
        server: "wharf-epoll",
        reference: "bare_epoll_echo",
        at_most: None,
    },
    Aim {
        server: "wharf-async",
        reference: "wharf-io_uring",
        at_most: Some(1.1),
    },
    Aim {
        server: "wharf-fiber",
        reference: "wharf-async",
        at_most: Some(1.1),
    },
    Aim {
        server: "wharf-io_uring",
        reference: "tokio_echo",
        at_most: None,
    },
];

/// What was asked for on the command line.
struct Request {
    plan: Plan,
    build: bool,
}

fn main() -> ExitCode {
    match run(parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> Request {
    let mut args = Args::from_env(USAGE);
    let peers = args.flag("--peers");
    let mut servers = match built_in() {
        Ok(servers) => servers,
        Err(error) => args.refuse(&format!("where is this program? {error}")),
    };
    for text in args.values::<String>("--server") {
        match Spec::parse(&text) {
            Some(spec) => servers.push(spec),
            None => args.refuse("--server is NAME=COMMAND"),
        }
    }
    let only: Vec<String> = args.list("--only", Vec::new());
    if !only.is_empty() {
        let find = |name: &String| match servers.iter().find(|spec| spec.name == *name) {
            Some(spec) => spec.clone(),
            None => args.refuse(&format!("--only {name}: there is no such server")),
        };
        servers = only.iter().map(find).collect();
    } else if !peers {
        let is_peer = |name: &str| BUILT_IN.iter().any(|own| own.is_peer && own.name == name);
        servers.retain(|spec| !is_peer(&spec.name));
    }
    let connections = args.list("--connections", vec![64, 512]);
    let rounds = args.value("--rounds", 5);
    let slices = args.value("--slices", 12);
    let time = Duration::from_millis(args.value("--milliseconds", 100));
    let message_bytes = args.value("--size", 64);
    let in_flight = args.value("--in-flight", 1);
    let cores = (
        args.value("--server-core", 0),
        args.value("--client-core", 1),
    );
    let pin = !args.flag("--no-pin");
    let count_syscalls = !args.flag("--no-syscalls");
    let build = !args.flag("--no-build");
    if rounds == 0 || slices == 0 || time.is_zero() {
        args.refuse("--rounds, --slices and --milliseconds are not 0");
    }
    if connections.contains(&0) || message_bytes == 0 || in_flight == 0 {
        args.refuse("--connections, --size and --in-flight are not 0");
    }
    args.finish();
    Request {
        plan: Plan {
            servers,
            connections,
            message_bytes,
            in_flight,
            rounds,
            slices,
            time,
            warm_up: time / 10,
            cores: pin.then_some(cores),
            count_syscalls,
        },
        build,
    }
}

fn run(Request { mut plan, build }: Request) -> io::Result<()> {
    sys::raise_descriptor_limit()?;
    if build {
        build_programs(&plan.servers)?;
    }
    let missing = plan.drop_what_does_not_start();
    for (name, error) in &missing {
        eprintln!("{name} takes no part: {error}");
    }
    if plan.servers.is_empty() {
        return Err(io::Error::other("no server is left to measure"));
    }
    // Asked before anything is pinned, which would leave one.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 && plan.cores.take().is_some() {
        eprintln!("one core only: server and load share it, and nothing is pinned");
    }
    eprintln!("this takes about {} s", plan.duration().as_secs() + 2);
    let measurement = plan.run()?;
    describe(&plan, cores);
    println!("{}", measurement.table());
    for &connections in &plan.connections {
        for aim in AIMS {
            judge(aim, &measurement, connections);
        }
    }
    for (name, error) in missing {
        println!("{name} was not measured: {error}");
    }
    Ok(())
}

fn build_programs(servers: &[Spec]) -> io::Result<()> {
    let mut programs: Vec<Program> = Vec::new();
    for built_in in BUILT_IN {
        let wanted = servers.iter().any(|spec| spec.name == built_in.name);
        let is_new = programs
            .iter()
            .all(|program| program.name != built_in.program.name);
        if wanted && is_new {
            programs.push(built_in.program);
        }
    }
    let names: Vec<&str> = programs.iter().map(|program| program.name).collect();
    if names.is_empty() {
        return Ok(());
    }
    eprintln!(
        "building {} (--no-build takes them as they are)",
        names.join(", ")
    );
    programs::build(&programs)
}

/// Says what the numbers are numbers of.
fn describe(plan: &Plan, cores: usize) {
    if programs::is_unoptimised() {
        println!(
            "BUILT WITHOUT OPTIMISATION: these numbers say nothing; use `cargo run --release`"
        );
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!(
        "TCP echo over loopback: {} B messages, {} in flight per connection, every byte verified",
        plan.message_bytes, plan.in_flight
    );
    println!("{cores} cores, Linux {}", kernel.trim());
    match plan.cores {
        Some((server, client)) => println!("server on core {server}, load on core {client}"),
        None => println!("server and load on any core"),
    }
    println!(
        "{} rounds with servers started anew, each of {} slices of {:?} in turns",
        plan.rounds, plan.slices, plan.time
    );
    println!(
        "CPU is the user and system time of the server's process; a ratio is taken between slices that \
         were next to each other\n"
    );
}

fn judge(aim: &Aim, measurement: &Measurement, connections: usize) {
    let Some(ratio) = measurement.ratio(aim.server, aim.reference, connections) else {
        return;
    };
    let verdict = match aim.at_most {
        None => String::new(),
        Some(at_most) if ratio.median <= at_most => format!("; at most {at_most:.2} is met"),
        Some(at_most) => format!("; at most {at_most:.2} is NOT met"),
    };
    println!(
        "{connections} connections: {} takes {:.3} times {} (half of the pairs {:.2}..{:.2}, minima {:.2}){verdict}",
        aim.server, ratio.median, aim.reference, ratio.lower, ratio.upper, ratio.of_minima
    );
}

/// The servers that lie beside this program, or will when they are built.
fn built_in() -> io::Result<Vec<Spec>> {
    let directory = programs::directory()?;
    let spec = |built_in: &BuiltIn| {
        let path = directory.join(built_in.program.name);
        Spec::new(built_in.name, &path, built_in.arguments)
    };
    Ok(BUILT_IN.iter().map(spec).collect())
}
