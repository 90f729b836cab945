//! What the strict reading of messages costs: a request head of 600 bytes as monitoring tools send
//! it, a head with its body in chunks, and a console's answer. `httparse` reads the same head for
//! comparison: it makes a table of the headers as well, so it is no floor, but it tells the machine.
#![expect(clippy::unwrap_used, reason = "a bench may stop")]

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use vspc_gateway::wire::{Answers, Asked, Bounds, HeadReader, Look, Requests};

const BOUNDS: Bounds = Bounds {
    head: 64 * 1024,
    target: 16 * 1024,
    body: 1 << 30,
};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    heads(&mut criterion);
    bodies(&mut criterion);
    answers(&mut criterion);
    criterion.final_summary();
}

/// 600 bytes and a few: 12 lines, of which one is long.
fn head() -> String {
    let agent = "Mozilla/5.0 (Windows NT; Windows NT 10.0; de-DE) WindowsPowerShell/5.1.20348.2849";
    format!(
        "GET /api/v3/organizations/companies?limit=200&offset=400&select=%5B%7B%22propertyPath%22%7D%5D \
         HTTP/1.1\r\nHost: vspc-gateway.example.net:8280\r\nUser-Agent: {agent}\r\n\
         Accept: application/json, text/plain;q=0.9, */*;q=0.1\r\nAccept-Encoding: gzip, deflate, br\r\n\
         Accept-Language: de-DE,de;q=0.9,en;q=0.7\r\nX-Api-Key: vgk_0123456789abcdefghijklmnopqrstuvwxyzABCDEF\r\n\
         X-Tenant: acme-industries\r\nX-Client-Version: 3.6.1\r\nCache-Control: no-cache\r\n\
         X-Request-Id: 0dd8f7e5-5d4c-4a3b-9c2e-1f0e9d8c7b6a\r\nConnection: keep-alive\r\n\r\n"
    )
}

fn heads(criterion: &mut Criterion) {
    let head = head();
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Bytes(head.len() as u64));
    group.bench_function(format!("head_of_{}_bytes", head.len()), |bencher| {
        bencher.iter(|| HeadReader::new(BOUNDS).read(black_box(head.as_bytes())));
    });
    group.bench_function("the_same_by_httparse", |bencher| {
        bencher.iter(|| {
            let mut lines = [httparse::EMPTY_HEADER; 32];
            let mut request = httparse::Request::new(&mut lines);
            request.parse(black_box(head.as_bytes())).unwrap()
        });
    });
    group.finish();
}

fn bodies(criterion: &mut Criterion) {
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let request = format!(
        "POST /api/v3/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(4)
    );
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Bytes(request.len() as u64));
    group.bench_function("body_of_four_chunks", |bencher| {
        bencher.iter(|| {
            let look = Requests::new(BOUNDS).look(black_box(request.as_bytes()), |_| {});
            assert_eq!(look, Look::Pass(request.len()));
        });
    });
    group.finish();
}

fn answers(criterion: &mut Criterion) {
    let body = "x".repeat(1024);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nServer: Microsoft-HTTPAPI/2.0\r\n\
         Strict-Transport-Security: max-age=31536000\r\nX-Content-Type-Options: nosniff\r\n\
         Date: Sun, 22 Nov 2026 07:00:00 GMT\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Bytes(answer.len() as u64));
    group.bench_function(format!("answer_of_{}_bytes", answer.len()), |bencher| {
        bencher.iter(|| {
            let mut answers = Answers::new(128 * 1024);
            answers.expect(Asked::Other);
            answers.look(black_box(answer.as_bytes()))
        });
    });
    group.finish();
}
