//! The mixed set: what an application of some age keeps, a kilobyte a key on average.

use super::load::Loader;

/// Words that the compressible half is made of: few enough that LZF finds them again.
const VOCABULARY: usize = 256;

/// Text of random words, `size` bytes of it.
pub(super) fn words(random: &mut fastrand::Rng, size: usize) -> Vec<u8> {
    let vocabulary: Vec<String> = (0..VOCABULARY)
        .map(|_| (0..random.usize(3..12)).map(|_| random.lowercase()).collect())
        .collect();
    let mut text = Vec::with_capacity(size + 16);
    while text.len() < size {
        if let Some(word) = random.choice(&vocabulary) {
            text.extend_from_slice(word.as_bytes());
        }
        text.push(b' ');
    }
    text.truncate(size);
    text
}

/// Queues the commands that make key `number`.
pub(super) fn put(loader: &mut Loader, number: u64) {
    match loader.random.u8(..100) {
        0..45 => string(loader, number),
        45..65 => hash(loader, number),
        65..75 => list(loader, number),
        75..83 => set(loader, number),
        83..95 => sorted_set(loader, number),
        _ => stream(loader, number),
    }
}

fn string(loader: &mut Loader, number: u64) {
    let size = loader.random.usize(200..1_800);
    let value = loader.value(size);
    loader.put(&[b"SET", format!("session:{number}").as_bytes(), &value]);
}

fn hash(loader: &mut Loader, number: u64) {
    let parts = (0..loader.random.usize(4..=20)).flat_map(|field| {
        let size = loader.random.usize(20..120);
        [format!("field:{field}").into_bytes(), loader.value(size)]
    });
    let parts = parts.collect();
    command(loader, b"HSET", &format!("user:{number}"), parts);
}

fn list(loader: &mut Loader, number: u64) {
    let parts = (0..loader.random.usize(8..=32)).map(|_| sized(loader, 20..80)).collect();
    command(loader, b"RPUSH", &format!("queue:{number}"), parts);
}

fn set(loader: &mut Loader, number: u64) {
    let parts = (0..loader.random.usize(8..=32))
        .map(|_| {
            let size = loader.random.usize(16..84);
            loader.noise(size)
        })
        .collect();
    command(loader, b"SADD", &format!("tags:{number}"), parts);
}

fn sorted_set(loader: &mut Loader, number: u64) {
    let parts = (0..loader.random.usize(8..=32)).flat_map(|_| {
        let score = loader.random.u32(..1_000_000).to_string().into_bytes();
        let size = loader.random.usize(16..70);
        [score, loader.noise(size)]
    });
    let parts = parts.collect();
    command(loader, b"ZADD", &format!("board:{number}"), parts);
}

fn stream(loader: &mut Loader, number: u64) {
    let key = format!("events:{number}");
    for entry in 1..=loader.random.usize(4..=12) {
        // Identifiers of our own: the server's would be the clock's.
        let id = format!("1700000000000-{entry}").into_bytes();
        let (what, who) = (sized(loader, 30..80), sized(loader, 30..80));
        command(loader, b"XADD", &key, vec![id, b"what".into(), what, b"who".into(), who]);
    }
}

fn sized(loader: &mut Loader, sizes: std::ops::Range<usize>) -> Vec<u8> {
    let size = loader.random.usize(sizes);
    loader.value(size)
}

fn command(loader: &mut Loader, name: &[u8], key: &str, parts: Vec<Vec<u8>>) {
    let mut arguments: Vec<&[u8]> = vec![name, key.as_bytes()];
    arguments.extend(parts.iter().map(Vec::as_slice));
    loader.put(&arguments);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_words() {
        let text = || words(&mut fastrand::Rng::with_seed(7), 1_000);
        assert_eq!(text(), text());
        assert_eq!(text().len(), 1_000);
        assert!(text().is_ascii());
    }
}
