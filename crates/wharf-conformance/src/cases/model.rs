//! Random operations, cancels, deadlines, chains, closes and drops, against a model of what may come
//! of them (C1 to C6, C10, C11).
//!
//! A sequence is made from a seed, which is printed when the sequence fails. `WHARF_SEED` runs the
//! sequence of that seed alone; what other threads and the kernel do meanwhile is not repeated.

mod judge;
mod stream;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use self::world::World;
use crate::Factory;
use crate::peer::{census_is, descriptors};

super::cases!(
    "C1" [alone] random_sequences_keep_to_the_model,
);

/// The sequences of a run, unless time is up before: each takes some milliseconds.
const SEQUENCES: u64 = 300;
const TIME: Duration = Duration::from_secs(4);

fn play(mut world: World) {
    for _ in 0..20 + world.random.below(120) {
        world.act();
    }
    if world.random.once_in(3) {
        world.end_with_the_queue();
    } else {
        world.end_in_order();
    }
}

fn random_sequences_keep_to_the_model(factory: &Factory) {
    let only = std::env::var("WHARF_SEED").ok();
    let only = only.map(|seed| seed.parse::<u64>().expect("WHARF_SEED is a number"));
    let before = descriptors();
    let began = Instant::now();
    let seeds = only.map_or(0..SEQUENCES, |seed| seed..seed + 1);
    for seed in seeds.take_while(|_| began.elapsed() < TIME) {
        let world = World::new(factory, seed);
        let result = catch_unwind(AssertUnwindSafe(|| play(world)));
        if let Err(panic) = result {
            eprintln!("{}: the sequence of WHARF_SEED={seed} failed", factory.kind);
            resume_unwind(panic);
        }
        census_is(before);
    }
}
