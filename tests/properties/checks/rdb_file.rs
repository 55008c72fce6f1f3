//! Any bytes as an RDB file: refused, or read to its exact end, and the same however it is read.

use std::io::Read;

use keyferry::payload::{checksum, walk_body};
use keyferry::rdb::{Record, Records, Summary, Version, Writer, check as check_file};

use super::payload::version_and_body;

/// The input is a file, or `WRITER|RECORDS`; see [`version_and_body`]: the file around the records,
/// with a right checksum, is made here.
pub fn check(input: &[u8]) {
    whole_file(input);
    let (version, records) = version_and_body(input);
    let mut file = Version::new(version).magic().into_bytes();
    file.extend_from_slice(records);
    file.push(0xff);
    let sum = checksum(&file);
    file.extend_from_slice(&sum.to_le_bytes());
    whole_file(&file);
}

fn whole_file(file: &[u8]) {
    let length = file.len() as u64;
    let found = check_file(file, length);
    let in_pieces = check_file(Pieces { left: file, turn: 0 }, length);
    match (found, in_pieces) {
        (Ok(found), Ok(same)) => {
            assert_eq!(found, same);
            good_file(file, &found);
        }
        (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
        (one, other) => panic!("{one:?}, in pieces {other:?}"),
    }
}

fn good_file(file: &[u8], found: &Summary) {
    // A file may end with the mark of a replication, or without it.
    let without_mark = file.len().checked_sub(40);
    let cuts = [file.len() - 1, file.len() - 8, file.len() - 9, file.len() / 2];
    for cut in cuts.into_iter().filter(|cut| Some(*cut) != without_mark) {
        assert!(check_file(&file[..cut], cut as u64).is_err(), "it ends at {cut} too");
    }
    let mut copy = Writer::new(Vec::new(), Version::new(found.version)).expect("memory");
    for section in &found.sections {
        let (begin, end) = (section.begin as usize, section.end as usize);
        let (part, length) = (&file[begin..end], section.end - section.begin);
        let version = Version::new(found.version);
        let mut records = Records::of_part(part, version, section.begin, length, usize::MAX);
        copy.database(section.database, section.keys, section.expires).expect("memory");
        let (mut keys, mut bytes) = (0, 0);
        loop {
            match records.next_record().expect("it was read once") {
                Record::End => break,
                Record::Key(key) => {
                    keys += 1;
                    bytes += key.payload_bytes();
                    let body = key.body.as_deref().expect("it was to be kept");
                    assert_eq!(body.len() as u64, 1 + key.length);
                    assert_eq!(body[1..], file[key.at as usize..][..key.length as usize]);
                    assert_eq!(walk_body(body, found.version), Ok(body.len()));
                    copy.key(&key.name, key.expiry.unwrap_or(0), body).expect("memory");
                }
                _ => {}
            }
        }
        assert_eq!((keys, bytes), (section.keys, section.bytes));
    }
    let copy = copy.finish().expect("memory");
    let again = check_file(&copy[..], copy.len() as u64).expect("what was written");
    let counts = |found: &Summary| -> Vec<_> {
        found.sections.iter().map(|s| (s.database, s.keys, s.bytes)).collect()
    };
    assert_eq!(counts(&again), counts(found));
}

/// Gives what it has in pieces of one to three bytes.
struct Pieces<'a> {
    left: &'a [u8],
    turn: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        self.turn += 1;
        let count = (1 + self.turn % 3).min(room.len()).min(self.left.len());
        let (piece, left) = self.left.split_at(count);
        room[..count].copy_from_slice(piece);
        self.left = left;
        Ok(count)
    }
}
