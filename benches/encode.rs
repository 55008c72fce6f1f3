//! The encoder: a RESTORE laid around the wire form of its payload, copied or chained.
//!
//! `resp::encode::CHAIN_FROM` is where the two lines of "lay a payload" cross.

use bytes::{Buf, Bytes};
use criterion::{BenchmarkId, Criterion, Throughput};
use keyferry::command::keyspace::{self, RestoreForm};
use keyferry::resp::Output;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    lay(&mut criterion);
    questions(&mut criterion);
    criterion.final_summary();
}

const KEY: &[u8] = b"$16\r\nkey:000000000001\r\n";
/// An expiry of the year 2100, in Unix milliseconds.
const EXPIRY: i64 = 4_102_444_800_000;

fn lay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lay a payload");
    let form = RestoreForm { replace: true, absolute: true };
    for size in [100, 1_000, 4_000, 16_000, 64_000] {
        let slab = Bytes::from(vec![b'x'; size]);
        group.throughput(Throughput::Bytes(size as u64));
        for (way, chain_from) in [("copied", usize::MAX), ("chained", 1)] {
            let id = BenchmarkId::new(way, size);
            group.bench_with_input(id, &slab, |bencher, slab| {
                let mut output = Output::new(chain_from);
                bencher.iter(|| {
                    output.copy(form.prefix());
                    output.copy(KEY);
                    output.number(EXPIRY);
                    output.lay(slab, 0..size);
                    output.copy(form.suffix());
                    // As if it had been written.
                    let written = output.remaining();
                    output.advance(written);
                    written
                });
            });
        }
    }
    group.finish();
}

fn questions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ask for a key");
    group.throughput(Throughput::Elements(1));
    group.bench_function("PEXPIRETIME and DUMP", |bencher| {
        let mut output = Output::default();
        bencher.iter(|| {
            keyspace::expiry(&mut output, keyspace::ExpiryCommand::Absolute, KEY);
            keyspace::dump(&mut output, KEY);
            let written = output.remaining();
            output.advance(written);
            written
        });
    });
    group.finish();
}
