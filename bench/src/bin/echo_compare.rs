//! `echo_compare`: echo servers side by side, in one run and one table.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use wharf_bench::args::Args;
use wharf_bench::compare::Plan;
use wharf_bench::server::Spec;
use wharf_bench::sys;

const USAGE: &str = "\
Compares the processor time that echo servers need for a message.

Usage: echo_compare [--server NAME=COMMAND].. [--only NAME,..] [--connections N,..]
                    [--rounds N] [--slices N] [--milliseconds N]
                    [--size BYTES] [--in-flight N]
                    [--server-core N --client-core N | --no-pin] [--syscalls]

The built-in servers are bare_uring_echo, bare_epoll_echo, wharf-io_uring and wharf-epoll
(`wharf echo --backend ..` beside this program). Ratios are taken to the first server.

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
  --syscalls              count the system calls of each server in one more run";

fn main() -> ExitCode {
    let mut args = Args::from_env(USAGE);
    let mut servers = built_in();
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
    let cores = if args.flag("--no-pin") {
        None
    } else {
        Some(cores)
    };
    let count_syscalls = args.flag("--syscalls");
    if rounds == 0 || slices == 0 || time.is_zero() {
        args.refuse("--rounds, --slices and --milliseconds are not 0");
    }
    args.finish();

    let (servers, missing): (Vec<Spec>, Vec<Spec>) = servers.into_iter().partition(Spec::is_built);
    let plan = Plan {
        servers,
        connections,
        message_bytes,
        in_flight,
        rounds,
        slices,
        time,
        warm_up: time / 10,
        cores,
        count_syscalls,
    };
    match run(&plan) {
        Ok(()) => {
            for spec in missing {
                println!("{}: not built ({} is missing)", spec.name, spec.command[0]);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("echo_compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan) -> io::Result<()> {
    sys::raise_descriptor_limit()?;
    let table = plan.run()?;
    println!(
        "{} B messages, {} in flight per connection",
        plan.message_bytes, plan.in_flight
    );
    println!(
        "{} rounds of {} slices of {:?}\n",
        plan.rounds, plan.slices, plan.time
    );
    println!("{table}");
    Ok(())
}

/// The servers that are built into the same directory as this program.
fn built_in() -> Vec<Spec> {
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("target/release/x"));
    let directory = own.parent().unwrap_or(Path::new(".")).to_owned();
    let wharf = directory.join("wharf");
    vec![
        Spec::new("bare_uring_echo", &directory.join("bare_uring_echo"), &[]),
        Spec::new("bare_epoll_echo", &directory.join("bare_epoll_echo"), &[]),
        Spec::new("wharf-io_uring", &wharf, &["echo", "--backend", "io_uring"]),
        Spec::new("wharf-epoll", &wharf, &["echo", "--backend", "epoll"]),
    ]
}
