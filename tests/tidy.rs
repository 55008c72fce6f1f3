//! Keeps the house as ARCHITECTURE.md describes it: who may import whom, module docs, file sizes,
//! and no shortcut that panics outside tests.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, lowest first: a room imports only from its own layer's rooms named here, or below.
const LAYERS: [&[&str]; 11] = [
    &["error", "units"],
    &["files", "resp"],
    &["command", "payload", "rdb"],
    &["config", "flow", "report"],
    &["net"],
    &["source", "target"],
    &["verify"],
    &["engine"],
    &["bench"],
    &["cli"],
    &["main", "lib"],
];

/// Edges that the order of the layers alone would allow.
const FORBIDDEN: [(&str, &str); 10] = [
    ("source", "target"),
    ("target", "source"),
    ("flow", "config"),
    ("report", "resp"),
    ("report", "error"),
    ("report", "command"),
    ("payload", "resp"),
    ("payload", "command"),
    ("payload", "error"),
    ("payload", "rdb"),
];

/// A file past this is a room that wants splitting.
const MOST_LINES: usize = 500;

struct Source {
    path: PathBuf,
    room: String,
    text: String,
}

impl Source {
    /// The part before the unit tests.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]").next().unwrap_or_default()
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src can be listed") {
            let path = entry.expect("src can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let inside = path.strip_prefix(&root).expect("below src");
                let first = inside.components().next().expect("a name");
                let room = first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
                let text = fs::read_to_string(&path).expect("a source file is text");
                found.push(Source { path: inside.to_owned(), room, text });
            }
        }
    }
    assert!(found.len() > 40, "only {} source files were found", found.len());
    found
}

fn layer(room: &str) -> usize {
    LAYERS
        .iter()
        .position(|rooms| rooms.contains(&room))
        .unwrap_or_else(|| panic!("the room '{room}' has no place in LAYERS"))
}

/// The rooms that a file names by `crate::room`.
fn imports(code: &str) -> Vec<String> {
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect())
        .filter(|room: &String| !room.is_empty())
        .collect()
}

fn complain(mistakes: &[String]) {
    assert!(mistakes.is_empty(), "\n{}\n", mistakes.join("\n"));
}

#[test]
fn rooms_import_only_downwards() {
    let mut mistakes = Vec::new();
    for source in sources() {
        for room in imports(source.code()) {
            let upwards = layer(&room) > layer(&source.room);
            let forbidden = FORBIDDEN.contains(&(source.room.as_str(), room.as_str()));
            if room != source.room && (upwards || forbidden) {
                mistakes.push(format!(
                    "{}: {} may not import {room}",
                    source.path.display(),
                    source.room
                ));
            }
        }
    }
    complain(&mistakes);
}

#[test]
fn pure_rooms_hold_no_async_code_and_no_clock() {
    let mut mistakes = Vec::new();
    for source in sources()
        .iter()
        .filter(|s| ["resp", "command", "payload", "rdb", "config"].contains(&&*s.room))
    {
        for word in ["async ", "tokio", "Instant", "SystemTime", "std::net::Tcp"] {
            if source.code().contains(word) {
                mistakes.push(format!("{}: a pure room holds '{word}'", source.path.display()));
            }
        }
    }
    complain(&mistakes);
}

#[test]
fn every_file_says_what_it_is_for_and_fits_a_head() {
    let mut mistakes = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            mistakes.push(format!("{}: no module documentation", source.path.display()));
        }
        let lines = source.text.lines().count();
        if lines > MOST_LINES {
            mistakes.push(format!("{}: {lines} lines", source.path.display()));
        }
    }
    complain(&mistakes);
}

#[test]
fn nothing_outside_tests_panics_or_prints() {
    let mut mistakes = Vec::new();
    for source in sources() {
        for (number, line) in source.code().lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in [".unwrap()", ".expect(", "panic!(", "todo!(", "println!(", "print!("] {
                if code.contains(word) {
                    mistakes.push(format!("{}:{}: {word}", source.path.display(), number + 1));
                }
            }
        }
    }
    complain(&mistakes);
}

/// `room::file::test`, as docs/promises.md names what shows a promise.
#[test]
fn every_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/promises.md")).expect("the page of promises");
    let named: Vec<&str> =
        page.split('`').skip(1).step_by(2).filter(|n| n.contains("::")).collect();
    assert!(named.len() > 20, "the page names {} tests", named.len());
    for name in named {
        let (room, test) = name.rsplit_once("::").expect("two parts");
        let room = room.replace("::", "/");
        let files = [format!("tests/{room}.rs"), format!("tests/{room}/mod.rs")];
        let text = files.iter().find_map(|file| fs::read_to_string(root.join(file)).ok());
        let text = text.unwrap_or_else(|| panic!("{name}: there is no such room"));
        let head = format!("fn {test}()");
        let before = text.split_once(&head).map(|(before, _)| before.trim_end());
        assert!(before.is_some_and(|text| text.ends_with("#[test]")), "{name} is no test");
    }
}
