//! Counting of tests from what test binaries print.
//!
//! It understands the lines of the standard test harness, which libtest-mimic prints in the same
//! words, and the house's own `not run:` lines, with which a test binary says what it left out.

/// The reason of a test that gives none.
pub(crate) const NO_REASON: &str = "marked as ignored";

/// What a run of tests added up to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// What was not run, with the reason where one is given.
    pub(crate) not_run: Vec<String>,
    /// The names of the tests that passed.
    pub(crate) passed_names: Vec<String>,
}

impl Tally {
    /// Takes in one line of output.
    pub(crate) fn line(&mut self, line: &str) {
        let line = line.trim();
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, " passed");
            self.failed += count(counts, " failed");
        } else if let Some((name, verdict)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.rsplit_once(" ... "))
        {
            // libtest-mimic pads names to one width.
            let name = name.trim_end();
            if verdict == "ok" {
                self.passed_names.push(name.to_owned());
            } else if let Some(reason) = verdict.strip_prefix("ignored") {
                let reason = reason.trim_start_matches([',', ' ']);
                let reason = if reason.is_empty() { NO_REASON } else { reason };
                self.not_run.push(format!("{name}: {reason}"));
            }
        } else if let Some(rest) = line.strip_prefix("not run: ") {
            self.not_run.push(rest.to_owned());
        }
    }

    /// Adds another run to this one; the names stay with their own run.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        for item in &other.not_run {
            if !self.not_run.contains(item) {
                self.not_run.push(item.clone());
            }
        }
    }

    /// How many tests ran.
    pub(crate) fn ran(&self) -> u64 {
        self.passed + self.failed
    }
}

/// The number in front of `label`, as in `12 passed;`.
fn count(counts: &str, label: &str) -> u64 {
    counts
        .split(label)
        .next()
        .filter(|before| before.len() < counts.len())
        .and_then(|before| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.line(line);
        }
        tally
    }

    #[test]
    fn tally_sums_the_result_lines() {
        let sum = tally(&[
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.1s",
            "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
            "12 passed; 3 failed",
        ]);
        assert_eq!((sum.passed, sum.failed, sum.ran()), (19, 2, 21));
    }

    #[test]
    fn tally_names_what_passed_and_what_did_not_run() {
        let sum = tally(&[
            "test slot::tests::a ... ok",
            "test b - should panic   ... ok",
            "test c ... ignored",
            "test d ... ignored, needs a second machine",
            "test e ... FAILED",
            "not run: f: io_uring is forbidden here",
        ]);
        assert_eq!(sum.passed_names, ["slot::tests::a", "b - should panic"]);
        assert_eq!(
            sum.not_run,
            [
                "c: marked as ignored",
                "d: needs a second machine",
                "f: io_uring is forbidden here"
            ]
        );
    }

    #[test]
    fn tally_adds_without_repeating_what_was_not_run() {
        let mut sum = tally(&["test c ... ignored", "test result: ok. 1 passed; 0 failed;"]);
        sum.add(&tally(&[
            "test c ... ignored",
            "test result: ok. 2 passed; 1 failed;",
        ]));
        assert_eq!((sum.passed, sum.failed), (3, 1));
        assert_eq!(sum.not_run, ["c: marked as ignored"]);
    }
}
