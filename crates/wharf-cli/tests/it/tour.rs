//! `wharf tour`: files of every kind arrive whole, what cannot be sent is refused in a sentence.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use crate::Case;
use crate::fixture::{NO_SUCH_FILE, ODD_NAME, ODD_NAME_ESCAPED, PROGRAM, limit_memory, make_fifo};
use crate::program::{Run, start, wharf};

pub(crate) const CASES: &[Case] = &[
    ("tour_sends_itself", tour_sends_itself),
    (
        "tour_sends_files_of_every_length",
        tour_sends_files_of_every_length,
    ),
    (
        "tour_names_the_digest_of_the_file",
        tour_names_the_digest_of_the_file,
    ),
    (
        "tour_of_a_shrinking_file_ends_well",
        tour_of_a_shrinking_file_ends_well,
    ),
    (
        "tour_of_a_large_file_takes_little_memory",
        tour_of_a_large_file_takes_little_memory,
    ),
    ("tour_is_plain_in_a_pipe", tour_is_plain_in_a_pipe),
    ("tour_overlaps", tour_overlaps),
    ("tour_draws_a_picture", tour_draws_a_picture),
    ("tour_refuses_what_is_no_file", tour_refuses_what_is_no_file),
    (
        "tour_refuses_devices_and_pipes",
        tour_refuses_devices_and_pipes,
    ),
    (
        "tour_says_that_the_disk_is_full",
        tour_says_that_the_disk_is_full,
    ),
    (
        "tour_refuses_a_picture_that_cannot_be",
        tour_refuses_a_picture_that_cannot_be,
    ),
    (
        "tour_ends_when_its_reader_leaves",
        tour_ends_when_its_reader_leaves,
    ),
];

fn tour(backend: &str, words: &[&str]) -> Run {
    Run::of(wharf(&[&["tour", "--backend", backend], words].concat()))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// A file of this length whose bytes tell where they stand.
fn file(directory: &Path, len: usize) -> std::path::PathBuf {
    let path = directory.join(format!("{len}.bin"));
    let bytes: Vec<u8> = (0..len)
        .map(|at| (at % 251) as u8 ^ (at / 251) as u8)
        .collect();
    fs::write(&path, bytes).expect("temporary files can be written");
    path
}

/// The digests of both ends, which are said to be the same.
fn digest(out: &str) -> String {
    let word = |name: &str| {
        let line = out.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next())
            .expect("the digest is printed")
            .to_owned()
    };
    assert!(out.contains("the digests are the same"), "{out}");
    assert_eq!(word("sent"), word("received"));
    word("sent")
}

fn tour_sends_itself(backend: &str) {
    let out = tour(backend, &[]).succeeds();
    for step in [
        "1 create",
        "2 have",
        "3 register",
        "4 block",
        "5 the thread",
    ] {
        assert!(
            out.lines().any(|line| line.starts_with(step)),
            "{step}: {out}"
        );
    }
    assert!(out.contains(backend) && out.contains(PROGRAM), "{out}");
    digest(&out);
}

fn tour_sends_files_of_every_length(backend: &str) {
    let directory = tempfile::tempdir().expect("there is room");
    // Around a chunk, around the number of connections, and around where chunks become longer.
    for len in [
        0, 1, 4095, 4096, 4097, 12_288, 12_289, 131_072, 131_073, 1_000_003,
    ] {
        let path = file(directory.path(), len);
        let out = tour(backend, &[text(&path)]).succeeds();
        digest(&out);
    }
}

fn tour_names_the_digest_of_the_file(backend: &str) {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("abc");
    fs::write(&path, "abc").expect("temporary files can be written");
    // The example of FIPS 180-2.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(digest(&tour(backend, &[text(&path)]).succeeds()), expected);
}

fn tour_of_a_shrinking_file_ends_well(backend: &str) {
    let directory = tempfile::tempdir().expect("there is room");
    let path = file(directory.path(), 8 << 20);
    let mut command = wharf(&["tour", "--backend", backend, text(&path)]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start(child);
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut said = String::new();
    // Wherever it is by now, the file gets shorter under it, once to the middle of a chunk.
    while !said.contains("3 register") {
        assert_ne!(
            out.read_line(&mut said).expect("output is text"),
            0,
            "{said}"
        );
    }
    let file = File::options()
        .write(true)
        .open(&path)
        .expect("it is there");
    for len in [(5 << 20) + 77, 1 << 20, 100, 0] {
        file.set_len(len).expect("a file can be cut");
    }
    out.read_to_string(&mut said).expect("output is text");
    let mut run = Run::from(child.wait_with_output().expect("it ends"));
    run.out = said;
    digest(&run.succeeds());
}

fn tour_of_a_large_file_takes_little_memory(backend: &str) {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("sparse");
    let file = File::create(&path).expect("temporary files can be written");
    file.set_len(192 << 20).expect("a file can be sparse");
    let mut command = wharf(&["tour", "--backend", backend, text(&path)]);
    limit_memory(&mut command, 64 << 20);
    digest(&Run::of(command).succeeds());
}

fn tour_is_plain_in_a_pipe(backend: &str) {
    assert!(!tour(backend, &[]).succeeds().contains('\x1b'));
    let mut forced = wharf(&["tour", "--backend", backend]);
    forced.env("CLICOLOR_FORCE", "1");
    assert!(Run::of(forced).succeeds().contains("\x1b["));
}

fn tour_overlaps(backend: &str) {
    let out = tour(backend, &[]).succeeds();
    let most = out
        .split("at most ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let most: usize = most.and_then(|most| most.parse().ok()).expect("a number");
    assert!(most >= 7, "four reads and three receives at least: {out}");
}

fn tour_draws_a_picture(backend: &str) {
    let directory = tempfile::tempdir().expect("there is room");
    let source = directory.path().join(ODD_NAME);
    fs::write(&source, vec![7; 300_000]).expect("temporary files can be written");
    let picture = directory.path().join("tour.svg");
    // What was there before is longer and must not shine through.
    fs::write(&picture, "x".repeat(1 << 20)).expect("temporary files can be written");
    let out = tour(backend, &[text(&source), "--svg", text(&picture)]).succeeds();
    assert!(out.contains("tour.svg"), "{out}");
    let svg = fs::read_to_string(&picture).expect("the picture is there");
    assert!(
        svg.starts_with("<svg ") && svg.ends_with("</svg>\n"),
        "{svg}"
    );
    assert!(svg.contains(ODD_NAME_ESCAPED), "{svg}");
    for class in ["prepare", "read", "send", "receive", "wait"] {
        assert!(
            svg.contains(&format!("class=\"bar {class}\"")),
            "{class}: {svg}"
        );
    }
    assert!(svg.contains("seconds since") && svg.contains("prefers-color-scheme:dark"));
    for (open, close) in [
        ("<text", "</text>"),
        ("<title", "</title>"),
        ("<svg", "</svg>"),
    ] {
        assert_eq!(
            svg.matches(open).count(),
            svg.matches(close).count(),
            "{open}"
        );
    }
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

fn tour_refuses_what_is_no_file(backend: &str) {
    let directory = tempfile::tempdir().expect("there is room");
    let path = text(directory.path());
    tour(backend, &[path]).fails(1, &[path, "directory", "give a regular file"]);
    let missing = directory.path().join("missing");
    tour(backend, &[text(&missing)]).fails(1, &[text(&missing), NO_SUCH_FILE]);
    tour(backend, &["one", "two"]).fails_as_wrong_use();
}

fn tour_refuses_devices_and_pipes(backend: &str) {
    let directory = tempfile::tempdir().expect("there is room");
    let fifo = directory.path().join("fifo");
    make_fifo(&fifo);
    tour(backend, &[text(&fifo)]).fails(1, &[text(&fifo), "give a regular file"]);
    tour(backend, &["/dev/zero"]).fails(1, &["/dev/zero", "give a regular file"]);
}

fn tour_refuses_a_picture_that_cannot_be(backend: &str) {
    let directory = tempfile::tempdir().expect("there is room");
    let source = file(directory.path(), 5000);
    let before = fs::read(&source).expect("it was written");
    let nowhere = directory.path().join("no/such/place.svg");
    let words = ["cannot write the picture"];
    for out in [nowhere.as_path(), directory.path(), &source] {
        tour(backend, &[text(&source), "--svg", text(out)]).fails(1, &words);
    }
    assert_eq!(fs::read(&source).expect("it is there"), before);
}

fn tour_ends_when_its_reader_leaves(backend: &str) {
    let mut command = wharf(&["tour", "--backend", backend]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start(child);
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    out.read_line(&mut line).expect("output is text");
    drop(out);
    Run::from(child.wait_with_output().expect("it ends")).succeeds();
}

/// A full disk is another matter than a reader that leaves.
fn tour_says_that_the_disk_is_full(backend: &str) {
    let directory = tempfile::tempdir().expect("there is room");
    let source = file(directory.path(), 5000);
    let picture = [text(&source), "--svg", "/dev/full"];
    tour(backend, &picture).fails(1, &["cannot write the picture"]);
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("Linux has it");
    let mut command = wharf(&["tour", "--backend", backend]);
    command.stdout(full);
    Run::of(command).fails(1, &["No space left"]);
}

impl Run {
    /// It was used wrongly, and explained at length.
    #[track_caller]
    pub(crate) fn fails_as_wrong_use(self) {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert!(
            self.error.starts_with("error: ") && self.error.contains("--help"),
            "{self:?}"
        );
    }
}
