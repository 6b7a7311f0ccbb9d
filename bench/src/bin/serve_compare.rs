//! `serve_compare`: HTTP file servers side by side, in one run and one table.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::time::Duration;

use wharf_bench::args::Args;
use wharf_bench::drive::Until;
use wharf_bench::http_load::{Asked, HttpLoad};
use wharf_bench::programs::{self, Program};
use wharf_bench::server::{Running, Spec};
use wharf_bench::sys;
use wharf_bench::syscalls::{self, SyscallCounter};
use wharf_bench::table::{Table, median, quantile};

const USAGE: &str = "\
Compares HTTP servers of files: the rate, and the processor time for a file.

Usage: serve_compare [--only NAME,..] [--contests small,many,large] [--rounds N]
                     [--milliseconds N] [--server-core N --client-core N | --no-pin]
                     [--no-syscalls] [--no-build]

The servers are wharf-io_uring and wharf-epoll (`wharf serve`), tokio (hyper and tokio::fs) and nginx,
if it is installed; each has one worker. Each contest has every server measured in turns:

  small   one file of 4 KiB, asked for by 64 connections
  many    256 files of 4 KiB, asked for by 64 connections
  large   one file of 100 MiB, asked for by 2 connections

  --only NAME,..          only these servers, in this order
  --contests NAME,..      only these contests
  --rounds N              how often each server runs in each contest; default 12
  --milliseconds N        for each of these; default 300. Of a large file at least two are sent
  --server-core N         default 0
  --client-core N         default 1
  --no-pin                leave the cores to the scheduler
  --no-syscalls           do not count the system calls of each server in one more run
  --no-build              take the programs that lie beside this one as they are";

const SMALL_BYTES: usize = 4096;
const LARGE_BYTES: usize = 100 << 20;
const MANY: usize = 256;

const PROGRAMS: [Program; 2] = [
    Program {
        package: "wharf-cli",
        name: "wharf",
        feature: None,
    },
    Program {
        package: "wharf-bench",
        name: "tokio_files",
        feature: Some("peers"),
    },
];

/// What is asked for, and by how many.
struct Contest {
    name: &'static str,
    connections: usize,
    files: Vec<Asked>,
}

/// What one server did in one slice.
#[derive(Clone, Copy)]
struct Sample {
    rate: f64,
    cpu_us: f64,
}

struct Request {
    only: Vec<String>,
    contests: Vec<String>,
    rounds: usize,
    time: Duration,
    cores: Option<(usize, usize)>,
    count_syscalls: bool,
    build: bool,
}

/// A directory that is removed at the end.
struct Site(PathBuf);

impl Drop for Site {
    fn drop(&mut self) {
        // What cannot be removed lies with other temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn main() -> ExitCode {
    match run(&parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serve_compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> Request {
    let mut args = Args::from_env(USAGE);
    let all = ["small", "many", "large"].map(str::to_owned).to_vec();
    let request = Request {
        only: args.list("--only", Vec::new()),
        contests: args.list("--contests", all.clone()),
        rounds: args.value("--rounds", 12),
        time: Duration::from_millis(args.value("--milliseconds", 300)),
        cores: Some((
            args.value("--server-core", 0),
            args.value("--client-core", 1),
        ))
        .filter(|_| !args.flag("--no-pin")),
        count_syscalls: !args.flag("--no-syscalls"),
        build: !args.flag("--no-build"),
    };
    if request.contests.iter().any(|name| !all.contains(name)) {
        args.refuse("--contests are small, many and large");
    }
    if request.rounds == 0 || request.time.is_zero() {
        args.refuse("--rounds and --milliseconds are not 0");
    }
    args.finish();
    request
}

fn run(request: &Request) -> io::Result<()> {
    sys::raise_descriptor_limit()?;
    if request.build {
        programs::build(&PROGRAMS)?;
    }
    let site = Site(env::temp_dir().join(format!("wharf-serve-{}", process::id())));
    let contests = contests(&site.0, &request.contests)?;
    let mut missing = Vec::new();
    let mut servers = servers(&site.0)?;
    if !request.only.is_empty() {
        servers.retain(|spec| request.only.contains(&spec.name));
    }
    servers.retain(|spec| match Running::start(spec, None, None) {
        Ok(_) => true,
        Err(error) => {
            missing.push(format!("{} was not run: {error}", spec.name));
            false
        }
    });
    if servers.is_empty() {
        return Err(io::Error::other("no server is left to measure"));
    }
    if programs::is_unoptimised() {
        println!(
            "BUILT WITHOUT OPTIMISATION: these numbers say nothing; use `cargo run --release`"
        );
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!(
        "HTTP over loopback, every byte verified; Linux {}",
        kernel.trim()
    );
    println!(
        "{} rounds in turns, of {:?}; CPU is the user and system time of the server's process\n",
        request.rounds, request.time
    );
    let mut verdicts = String::new();
    let mut table = Table::new(
        2,
        &[
            "contest",
            "server",
            "files/s, median",
            "CPU us/file, median",
            "half of them",
            "ratio to nginx",
            "ratio to tokio",
            "system calls/file",
        ],
    );
    for contest in &contests {
        let samples = measure(request, contest, &servers)?;
        for (spec, own) in servers.iter().zip(&samples) {
            let cpu: Vec<f64> = own.iter().map(|sample| sample.cpu_us).collect();
            let rates: Vec<f64> = own.iter().map(|sample| sample.rate).collect();
            let beside = |name: &str| {
                let other = servers.iter().position(|spec| spec.name == name);
                other.map(|other| ratio(own, &samples[other]))
            };
            let (nginx, tokio) = (beside("nginx"), beside("tokio"));
            let text = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |it| format!("{it:.2}"));
            let calls = match request.count_syscalls {
                true => count(request, contest, spec)?,
                false => String::new(),
            };
            table.row(vec![
                contest.name.to_owned(),
                spec.name.clone(),
                format!("{:.1}", median(&rates)),
                format!("{:.1}", median(&cpu)),
                format!("{:.1}..{:.1}", quantile(&cpu, 0.25), quantile(&cpu, 0.75)),
                text(nginx),
                text(tokio),
                calls,
            ]);
            if spec.name.starts_with("wharf") {
                judge(&mut verdicts, contest, spec, nginx, tokio);
            }
        }
    }
    println!("{table}\n{verdicts}");
    for sentence in missing {
        println!("{sentence}");
    }
    Ok(())
}

/// Holds a server against the better of the peers that took part.
fn judge(out: &mut String, contest: &Contest, spec: &Spec, nginx: Option<f64>, tokio: Option<f64>) {
    let Some(worst) = [nginx, tokio].into_iter().flatten().reduce(f64::max) else {
        return;
    };
    let verdict = if worst <= 1.0 { "met" } else { "NOT met" };
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{}: {} takes {worst:.2} times the processor time of the best peer; at most 1.00 is {verdict}",
        contest.name, spec.name
    );
}

/// The median of the ratios of processor times, between slices that were next to each other.
fn ratio(own: &[Sample], other: &[Sample]) -> f64 {
    let pairs = own.iter().zip(other);
    let ratios: Vec<f64> = pairs
        .map(|(own, other)| own.cpu_us / other.cpu_us)
        .collect();
    median(&ratios)
}

/// Writes the files of the contests below `site`.
fn contests(site: &Path, names: &[String]) -> io::Result<Vec<Contest>> {
    fs::create_dir_all(site.join("files"))?;
    let mut contests = Vec::new();
    for name in names {
        let (name, connections, count, len) = match name.as_str() {
            "small" => ("small", 64, 1, SMALL_BYTES),
            "many" => ("many", 64, MANY, SMALL_BYTES),
            _ => ("large", 2, 1, LARGE_BYTES),
        };
        let mut files = Vec::new();
        for number in 0..count {
            let bytes = content(len, number);
            let file = format!("{name}-{number}.bin");
            fs::write(site.join("files").join(&file), &bytes)?;
            let path = format!("/{file}");
            files.push(Asked { path, bytes });
        }
        contests.push(Contest {
            name,
            connections,
            files,
        });
    }
    Ok(contests)
}

/// Bytes (xorshift64) that differ from file to file.
fn content(len: usize, number: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64 ^ (number as u64 + 1).wrapping_mul(0x9E37_79B9);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn servers(site: &Path) -> io::Result<Vec<Spec>> {
    let directory = programs::directory()?;
    let files = site.join("files").display().to_string();
    let wharf = |name, backend| {
        let arguments = ["serve", &files, "--backend", backend, "--workers", "1"];
        Spec::new(name, &directory.join("wharf"), &arguments)
    };
    let tokio = Spec::new(
        "tokio",
        &directory.join("tokio_files"),
        &["--directory", &files],
    );
    Ok(vec![
        wharf("wharf-io_uring", "io_uring"),
        wharf("wharf-epoll", "epoll"),
        tokio,
        nginx(site)?,
    ])
}

/// nginx as one process that does all the work, with its log off, as it is tuned for static files.
fn nginx(site: &Path) -> io::Result<Spec> {
    // It cannot say which port it was given, so one is chosen that was free just now.
    let address: SocketAddr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let site = site.display();
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(temporary, "  {kind}_temp_path {site}/{kind};");
    }
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {site}/nginx.pid;\nerror_log {site}/error.log;\n\
         events {{ worker_connections 4096; }}\nhttp {{\n  access_log off;\n  sendfile on;\n  \
         tcp_nopush on;\n  keepalive_requests 1000000000;\n{temporary}  \
         types {{ application/octet-stream bin; }}\n  server {{ listen {address}; root {site}/files; }}\n}}\n"
    );
    let file = format!("{site}/nginx.conf");
    fs::write(&file, configuration)?;
    let log = format!("{site}/error.log");
    let command = ["nginx", "-e", &log, "-c", &file].map(str::to_owned);
    Ok(Spec::silent("nginx", command.to_vec(), address))
}

/// All rounds of a contest: the samples of each server.
fn measure(request: &Request, contest: &Contest, servers: &[Spec]) -> io::Result<Vec<Vec<Sample>>> {
    let mut started = Vec::new();
    for spec in servers {
        started.push(start(request, contest, spec)?);
    }
    let mut samples = vec![Vec::new(); servers.len()];
    for round in 0..request.rounds {
        for turn in 0..servers.len() {
            let number = (round + turn) % servers.len();
            let (running, load) = &mut started[number];
            let blame = |error| blame(&servers[number], &error);
            // The caches belong to the server that ran before.
            load.run(Until::Messages(2)).map_err(blame)?;
            let before = sys::process_cpu_time(running.process())?;
            let report = load.run(Until::Elapsed(request.time)).map_err(blame)?;
            let cpu = sys::process_cpu_time(running.process())?.saturating_sub(before);
            samples[number].push(Sample {
                rate: report.rate(),
                cpu_us: cpu.as_secs_f64() * 1e6 / report.messages as f64,
            });
        }
    }
    eprintln!("{}: {} rounds", contest.name, request.rounds);
    Ok(samples)
}

fn start<'a>(
    request: &Request,
    contest: &'a Contest,
    spec: &Spec,
) -> io::Result<(Running, HttpLoad<'a>)> {
    let server_core = request.cores.map(|(server, _)| server);
    let client_core = request.cores.map(|(_, client)| client);
    let running = Running::start(spec, server_core, client_core)?;
    let mut load = HttpLoad::connect(running.address(), contest.connections, &contest.files)?;
    load.run(Until::Messages(contest.connections as u64 * 2))
        .map_err(|error| blame(spec, &error))?;
    Ok((running, load))
}

/// The system calls for a file, as text.
fn count(request: &Request, contest: &Contest, spec: &Spec) -> io::Result<String> {
    let (running, mut load) = start(request, contest, spec)?;
    let counter = SyscallCounter::attach(running.process())?;
    let report = load
        .run(Until::Elapsed(request.time))
        .map_err(|error| blame(spec, &error))?;
    Ok(syscalls::describe(&counter.stop()?, report.messages))
}

fn blame(spec: &Spec, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", spec.name))
}
