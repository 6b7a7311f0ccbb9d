//! What docs/contract.md says of operations is what the queue says, and it explains every label.

use std::collections::BTreeMap;

use wharf_queue::{OpKind, Queue, Support};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    (
        "contract_lists_each_operation_as_the_queue_does_it",
        contract_lists_each_operation,
    ),
    (
        "contract_explains_the_label_of_every_case",
        contract_explains_every_label,
    ),
];

const CONTRACT: &str = include_str!("../../../../docs/contract.md");

/// The cells of each row of the table that has this head.
fn table(head: &str) -> Vec<Vec<&'static str>> {
    let rows = CONTRACT.lines().skip_while(|line| *line != head);
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// Whether the queue does it in the way that a cell names, or in its other way for an older kernel.
fn agrees(cell: &str, support: Support) -> bool {
    let word = match support {
        Support::Native => "native",
        Support::Emulated => "emulated",
        Support::Pool => "pool",
        Support::Unsupported(_) => "refused",
        _ => return false,
    };
    let (usual, older) = cell.split_once(", ").unwrap_or((cell, ""));
    word == usual || older.starts_with(&format!("{word} before "))
}

fn contract_lists_each_operation(backend: &str) {
    let kind = backend.parse().expect("a backend of this build");
    let queue = Queue::builder().backend(kind).build().expect("it is here");
    let head = CONTRACT
        .lines()
        .find(|line| line.starts_with("| operation | "));
    let head = head.expect("the table of operations");
    let rows = table(head);
    let mut columns = head.trim_matches('|').split('|').map(str::trim);
    let column = columns.position(|column| column == backend);
    let column = column.unwrap_or_else(|| panic!("the table has no column for {backend}"));
    let mut listed = BTreeMap::new();
    for row in &rows {
        let before = listed.insert(row[0].trim_matches('`'), row[column]);
        assert_eq!(before, None, "{} is listed twice", row[0]);
    }
    for kind in OpKind::ALL {
        let name = format!("{kind:?}");
        let cell = listed.remove(name.as_str());
        let cell = cell.unwrap_or_else(|| panic!("{name} is not listed"));
        let support = queue.support(kind);
        assert!(agrees(cell, support), "{name}: '{cell}' is {support:?}");
    }
    assert!(listed.is_empty(), "these are no operations: {listed:?}");
}

/// The same on each backend.
fn contract_explains_every_label(_: &str) {
    let races = table("| label | two things at once | what comes out |");
    for case in wharf_conformance::cases() {
        for label in case
            .promise
            .split([' ', ','])
            .filter(|label| !label.is_empty())
        {
            let is_promise = CONTRACT.contains(&format!("\n**{label}. "));
            let is_race = races.iter().any(|row| row[0] == label);
            assert!(
                is_promise || is_race,
                "{}: {label} is not explained",
                case.name
            );
        }
    }
}
