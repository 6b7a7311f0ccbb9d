//! Ten thousand fibers that sleep, on one thread: `cargo run --release -p wharf-fiber --example
//! sleepers -- 10000`.

use std::time::{Duration, Instant};

use wharf_fiber as fiber;

const SLEEP: Duration = Duration::from_millis(500);

/// Lets so many fibers sleep at once, and gives how many have.
pub(crate) fn run(count: usize) -> std::io::Result<usize> {
    let runtime = wharf::Runtime::new()?;
    Ok(fiber::block_on(&runtime, move || {
        let begin = Instant::now();
        let fibers: Vec<_> = (0..count)
            .map(|_| fiber::spawn(|| fiber::sleep(SLEEP)))
            .collect();
        println!("{count} fibers after {:?}", begin.elapsed());
        let slept = fibers.into_iter().filter_map(|fiber| fiber.join().ok());
        let slept = slept.count();
        println!("{slept} have slept {SLEEP:?} after {:?}", begin.elapsed());
        println!("{:?}", fiber::stats());
        slept
    }))
}

#[allow(dead_code, reason = "the tests call what it calls")]
fn main() -> std::io::Result<()> {
    let count = std::env::args().nth(1);
    let count = count.and_then(|count| count.parse().ok());
    run(count.unwrap_or(10_000)).map(drop)
}
