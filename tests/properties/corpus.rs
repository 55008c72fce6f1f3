//! Every corpus file through the check of its fuzz target.

use std::path::{Path, PathBuf};

use crate::checks::{self, oracle, pattern};

/// Few files would mean that the corpus was not found.
const FEWEST_FILES: usize = 12;

fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Name and content of each file, in the order of names.
fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = directory(target);
    let entries = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.expect("an entry of the corpus").path();
            let name = path.file_name().expect("a file name").to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("a corpus file"))
        })
        .collect();
    files.sort();
    assert!(files.len() >= FEWEST_FILES, "only {} in {}", files.len(), directory.display());
    files
}

/// The patterns and keys of the corpus, for the comparison with real servers.
pub(crate) fn patterns_and_keys() -> Vec<(Vec<u8>, Vec<u8>)> {
    let cut = |(_, input): (String, Vec<u8>)| {
        let (pattern, key) = pattern::pattern_and_key(&input);
        (pattern.to_vec(), key.to_vec())
    };
    files("pattern").into_iter().map(cut).collect()
}

/// Runs a check on one file after the other; a failing test shows the name printed last.
fn replay(target: &str) {
    let check =
        checks::ALL.iter().find(|(name, _)| *name == target).expect("a check of the name").1;
    for (name, input) in files(target) {
        println!("fuzz/corpus/{target}/{name}");
        check(&input);
    }
}

#[test]
fn decode_corpus_holds() {
    replay("decode");
}

#[test]
fn decode_split_corpus_holds() {
    replay("decode_split");
}

#[test]
fn round_trip_corpus_holds() {
    replay("round_trip");
}

#[test]
fn endpoint_corpus_holds() {
    replay("endpoint");
}

#[test]
fn pattern_corpus_holds() {
    replay("pattern");
}

#[test]
fn walk_corpus_holds() {
    replay("walk");
}

#[test]
fn payload_decode_corpus_holds() {
    replay("payload_decode");
}

#[test]
fn reencode_corpus_holds() {
    replay("reencode");
}

#[test]
fn rdb_file_corpus_holds() {
    replay("rdb_file");
}

#[test]
fn streams_of_other_corpora_equal_the_oracle_too() {
    for (name, input) in files("decode_split") {
        println!("fuzz/corpus/decode_split/{name}");
        let bar = input.iter().position(|&byte| byte == b'|').expect("steps end with a bar");
        oracle::compare(&input[bar + 1..]);
    }
}

#[test]
fn every_corpus_has_a_check_and_a_fuzz_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut corpora: Vec<String> = std::fs::read_dir(root.join("corpus"))
        .expect("the corpora")
        .map(|entry| entry.expect("a corpus").file_name().to_string_lossy().into_owned())
        .collect();
    corpora.sort();
    let mut names: Vec<&str> = checks::ALL.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(corpora, names);
    for name in names {
        let target = root.join("fuzz_targets").join(name).with_extension("rs");
        assert!(target.is_file(), "{} is missing", target.display());
    }
}
