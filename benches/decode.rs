//! The decoder: replies as a copy gets them, one read buffer's worth, whole and in pieces.

use criterion::{BenchmarkId, Criterion, Throughput};
use keyferry::resp::Decoder;

/// About what one read takes.
const BUFFER: usize = 256 << 10;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    bulks(&mut criterion);
    pieces(&mut criterion);
    scan_page(&mut criterion);
    criterion.final_summary();
}

/// An expiry and a payload for each key, as DUMP's answers come.
fn replies(size: usize) -> Vec<u8> {
    let mut buffer = Vec::new();
    while buffer.len() < BUFFER {
        buffer.extend_from_slice(format!(":-1\r\n${size}\r\n").as_bytes());
        buffer.resize(buffer.len() + size, b'x');
        buffer.extend_from_slice(b"\r\n");
    }
    buffer
}

fn decoded(decoder: &mut Decoder, buffer: &[u8]) -> usize {
    let mut count = 0;
    while let Ok(Some(reply)) = decoder.next(buffer) {
        count += reply.tokens().len();
    }
    count
}

fn bulks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode bulks");
    for size in [16, 100, 1_000, 16_000] {
        let buffer = replies(size);
        group.throughput(Throughput::Bytes(buffer.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &buffer, |bencher, buffer| {
            bencher.iter(|| decoded(&mut Decoder::default(), buffer));
        });
    }
    group.finish();
}

/// The same bytes as they trickle in: what a cut reply costs.
fn pieces(criterion: &mut Criterion) {
    const PIECE: usize = 1_448;
    let buffer = replies(1_000);
    let mut group = criterion.benchmark_group("decode in pieces");
    group.throughput(Throughput::Bytes(buffer.len() as u64));
    group.bench_function(BenchmarkId::from_parameter(PIECE), |bencher| {
        bencher.iter(|| {
            let mut decoder = Decoder::default();
            let ends = (PIECE..=buffer.len()).step_by(PIECE);
            ends.map(|end| decoded(&mut decoder, &buffer[..end])).sum::<usize>()
        });
    });
    group.finish();
}

fn scan_page(criterion: &mut Criterion) {
    const KEYS: usize = 1_000;
    let mut page = format!("*2\r\n$2\r\n17\r\n*{KEYS}\r\n").into_bytes();
    for number in 0..KEYS {
        page.extend_from_slice(format!("$16\r\nkey:{number:012}\r\n").as_bytes());
    }
    let mut group = criterion.benchmark_group("decode a page of SCAN");
    group.throughput(Throughput::Elements(KEYS as u64));
    group.bench_function(BenchmarkId::from_parameter(KEYS), |bencher| {
        bencher.iter(|| decoded(&mut Decoder::default(), &page));
    });
    group.finish();
}
