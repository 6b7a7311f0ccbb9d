//! Compares echo servers: the same load on each, in turns, on cores of their own.
//!
//! It owns the order of the measurement and the table. A round starts all servers anew, because where their
//! memory comes to lie is luck. Within a round the load goes from one to the next in short slices, while the
//! others have nothing to do; the order moves on by one from slice to slice, and ratios are taken between
//! slices that were next to each other, so that a machine that gets slower or busier meanwhile wrongs nobody.
//!
//! ```text
//! round 1   A B C | B C A | C A B | ..      round 2   B C A | C A B | ..
//! ```

use std::io;
use std::time::Duration;

use crate::drive::Until;
use crate::load::{Load, Shape};
use crate::server::{Running, Spec};
use crate::sys;
use crate::syscalls::{self, SyscallCounter};
use crate::table::{Table, median, minimum, quantile};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The servers; ratios are taken to the first one.
    pub servers: Vec<Spec>,
    /// The numbers of connections.
    pub connections: Vec<usize>,
    /// The bytes of a message.
    pub message_bytes: usize,
    /// The messages in flight on each connection.
    pub in_flight: u64,
    /// How often the servers are started anew with each number of connections.
    pub rounds: usize,
    /// How often each server runs in a round.
    pub slices: usize,
    /// The time that is measured in one slice.
    pub time: Duration,
    /// The time before it that is not.
    pub warm_up: Duration,
    /// The cores of the server and of the load; no pinning without.
    pub cores: Option<(usize, usize)>,
    /// Whether one more run for each counts system calls.
    pub count_syscalls: bool,
}

/// One slice of one server.
#[derive(Clone, Copy, Debug)]
struct Sample {
    cpu_us: f64,
    switches: f64,
    rate: f64,
}

/// What was found of one server with one number of connections.
#[derive(Clone, Debug)]
struct Series {
    server: String,
    connections: usize,
    samples: Vec<Sample>,
    calls: Option<String>,
}

/// How one server's processor time for a message compares with another's.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// The median over pairs of slices that were next to each other.
    pub median: f64,
    /// A quarter of the pairs are below this.
    pub lower: f64,
    /// A quarter of the pairs are above this.
    pub upper: f64,
    /// Of the best slice of each.
    pub of_minima: f64,
}

/// All that a plan found.
#[derive(Clone, Debug)]
pub struct Measurement {
    series: Vec<Series>,
}

impl Plan {
    /// Measures all of it; one line on stderr for each round.
    ///
    /// # Errors
    /// The first failure of a server or of its load: a wrong byte is not a slow one.
    pub fn run(&self) -> io::Result<Measurement> {
        let mut series = Vec::new();
        for &connections in &self.connections {
            let samples = self.run_rounds(connections)?;
            for (spec, samples) in self.servers.iter().zip(samples) {
                let calls = match self.count_syscalls {
                    true => Some(self.count(spec, connections)?),
                    false => None,
                };
                series.push(Series {
                    server: spec.name.clone(),
                    connections,
                    samples,
                    calls,
                });
            }
        }
        Ok(Measurement { series })
    }

    /// About how long a run takes.
    #[must_use]
    pub fn duration(&self) -> Duration {
        let runs = self.servers.len() * self.connections.len();
        let slices = self.rounds * self.slices;
        let slice = self.time + self.warm_up;
        let count = if self.count_syscalls {
            slice
        } else {
            Duration::ZERO
        };
        (slice * slices as u32 + self.warm_up * self.rounds as u32 + count) * runs as u32
    }

    /// Takes out the servers that do not start here, and gives each with the reason.
    pub fn drop_what_does_not_start(&mut self) -> Vec<(String, io::Error)> {
        let mut failures = Vec::new();
        self.servers
            .retain(|spec| match Running::start(spec, None, None) {
                Ok(_) => true,
                Err(error) => {
                    failures.push((spec.name.clone(), error));
                    false
                }
            });
        failures
    }

    /// All rounds with one number of connections: the samples of each server, slice by slice.
    fn run_rounds(&self, connections: usize) -> io::Result<Vec<Vec<Sample>>> {
        let mut samples = vec![Vec::new(); self.servers.len()];
        for round in 0..self.rounds {
            let mut started = Vec::new();
            for spec in &self.servers {
                started.push(self.start(spec, connections)?);
            }
            for slice in 0..self.slices {
                for turn in 0..self.servers.len() {
                    let server = (round + slice + turn) % self.servers.len();
                    let (running, load) = &mut started[server];
                    samples[server].push(self.measure(&self.servers[server], running, load)?);
                }
            }
            let names = self.servers.iter().zip(&samples);
            let line: Vec<String> = names
                .map(|(spec, own)| {
                    let cpu = of(&own[round * self.slices..], |sample| sample.cpu_us);
                    format!("{} {:.2} us", spec.name, median(&cpu))
                })
                .collect();
            eprintln!(
                "{connections} connections, round {}: {}",
                round + 1,
                line.join(", ")
            );
        }
        Ok(samples)
    }

    fn start(&self, spec: &Spec, connections: usize) -> io::Result<(Running, Load)> {
        let server_core = self.cores.map(|(server, _)| server);
        let client_core = self.cores.map(|(_, client)| client);
        let server = Running::start(spec, server_core, client_core)?;
        let shape = Shape {
            connections,
            message_bytes: self.message_bytes,
            in_flight: self.in_flight,
        };
        let mut load = Load::connect(server.address(), shape)?;
        load.run(Until::Elapsed(self.warm_up))
            .map_err(|error| blame(spec, &error))?;
        Ok((server, load))
    }

    fn measure(&self, spec: &Spec, server: &Running, load: &mut Load) -> io::Result<Sample> {
        // The caches belong to the server that ran before.
        load.run(Until::Elapsed(self.warm_up))
            .map_err(|error| blame(spec, &error))?;
        let switches = sys::voluntary_switches(server.process())?;
        let cpu = sys::process_cpu_time(server.process())?;
        let report = load
            .run(Until::Elapsed(self.time))
            .map_err(|error| blame(spec, &error))?;
        let cpu = sys::process_cpu_time(server.process())?.saturating_sub(cpu);
        let switches = sys::voluntary_switches(server.process())?.saturating_sub(switches);
        let messages = report.messages as f64;
        Ok(Sample {
            cpu_us: cpu.as_secs_f64() * 1e6 / messages,
            switches: switches as f64 / messages,
            rate: report.rate(),
        })
    }

    fn count(&self, spec: &Spec, connections: usize) -> io::Result<String> {
        let (server, mut load) = self.start(spec, connections)?;
        load.run(Until::Elapsed(self.warm_up))
            .map_err(|error| blame(spec, &error))?;
        let counter = SyscallCounter::attach(server.process())?;
        let report = load
            .run(Until::Elapsed(self.time))
            .map_err(|error| blame(spec, &error))?;
        Ok(syscalls::describe(&counter.stop()?, report.messages))
    }
}

impl Measurement {
    /// A row for each server with each number of connections; ratios are to the first server.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut head = vec![
            "server",
            "connections",
            "CPU us/msg, median",
            "min",
            "ratio, median",
            "half of them",
            "ratio of min",
            "msg/s, median",
            "sleeps/msg",
        ];
        if self.series.iter().any(|series| series.calls.is_some()) {
            head.push("system calls/msg");
        }
        let mut table = Table::new(1, &head);
        for own in &self.series {
            let cpu = of(&own.samples, |sample| sample.cpu_us);
            let ratio = own.ratio_to(self.first(own.connections));
            let mut row = vec![
                own.server.clone(),
                own.connections.to_string(),
                format!("{:.2}", median(&cpu)),
                format!("{:.2}", minimum(&cpu)),
                format!("{:.3}", ratio.median),
                format!("{:.2}..{:.2}", ratio.lower, ratio.upper),
                format!("{:.2}", ratio.of_minima),
                format!("{:.0}", median(&of(&own.samples, |sample| sample.rate))),
                format!("{:.3}", median(&of(&own.samples, |sample| sample.switches))),
            ];
            row.extend(own.calls.clone());
            table.row(row);
        }
        table
    }

    fn first(&self, connections: usize) -> &Series {
        let mut series = self.series.iter();
        series
            .find(|series| series.connections == connections)
            .expect("asked for a number of connections that was measured")
    }

    /// The ratio of one server to another, if both took part.
    #[must_use]
    pub fn ratio(&self, server: &str, reference: &str, connections: usize) -> Option<Ratio> {
        let find = |name: &str| {
            let mut series = self.series.iter();
            series.find(|series| series.server == name && series.connections == connections)
        };
        Some(find(server)?.ratio_to(find(reference)?))
    }
}

impl Series {
    fn ratio_to(&self, reference: &Series) -> Ratio {
        let own = of(&self.samples, |sample| sample.cpu_us);
        let other = of(&reference.samples, |sample| sample.cpu_us);
        let ratios: Vec<f64> = own
            .iter()
            .zip(&other)
            .map(|(own, other)| own / other)
            .collect();
        Ratio {
            median: median(&ratios),
            lower: quantile(&ratios, 0.25),
            upper: quantile(&ratios, 0.75),
            of_minima: minimum(&own) / minimum(&other),
        }
    }
}

fn of(samples: &[Sample], field: fn(&Sample) -> f64) -> Vec<f64> {
    samples.iter().map(field).collect()
}

fn blame(spec: &Spec, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", spec.name))
}
