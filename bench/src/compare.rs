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

use crate::load::{Load, Shape, Until};
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

impl Plan {
    /// Measures all of it; one line on stderr for each round.
    ///
    /// # Errors
    /// The first failure of a server or of its load: a wrong byte is not a slow one.
    pub fn run(&self) -> io::Result<Table> {
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
        if self.count_syscalls {
            head.push("system calls/msg");
        }
        let mut table = Table::new(1, &head);
        for &connections in &self.connections {
            let samples = self.run_rounds(connections)?;
            for (server, own) in samples.iter().enumerate() {
                let mut row = self.row(server, connections, own, &samples[0]);
                if self.count_syscalls {
                    row.push(self.count(&self.servers[server], connections)?);
                }
                table.row(row);
            }
        }
        Ok(table)
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

    fn row(
        &self,
        server: usize,
        connections: usize,
        own: &[Sample],
        first: &[Sample],
    ) -> Vec<String> {
        let cpu = of(own, |sample| sample.cpu_us);
        let first_cpu = of(first, |sample| sample.cpu_us);
        let ratios: Vec<f64> = cpu
            .iter()
            .zip(&first_cpu)
            .map(|(own, first)| own / first)
            .collect();
        vec![
            self.servers[server].name.clone(),
            connections.to_string(),
            format!("{:.2}", median(&cpu)),
            format!("{:.2}", minimum(&cpu)),
            format!("{:.3}", median(&ratios)),
            format!(
                "{:.2}..{:.2}",
                quantile(&ratios, 0.25),
                quantile(&ratios, 0.75)
            ),
            format!("{:.2}", minimum(&cpu) / minimum(&first_cpu)),
            format!("{:.0}", median(&of(own, |sample| sample.rate))),
            format!("{:.3}", median(&of(own, |sample| sample.switches))),
        ]
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

fn of(samples: &[Sample], field: fn(&Sample) -> f64) -> Vec<f64> {
    samples.iter().map(field).collect()
}

fn blame(spec: &Spec, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", spec.name))
}
