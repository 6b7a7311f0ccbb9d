//! Answers that clients take slowly, in part, or after the server was asked to stop; from memory, which
//! is written to the stream, and not from files. A begun answer arrives whole.

use std::convert::Infallible;
use std::io::{ErrorKind, Read};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2;
use hyper::service::service_fn;
use wharf::hyper_rt::WharfExecutor;
use wharf_http::{Limits, RequestBody};
use wharf_queue::BackendKind;

use crate::client::{Client, reset};
use crate::fixture::{backends, pattern};
use crate::served::Served;

/// More than the buffers of both sides hold.
const LARGE: usize = 8_000_000;

/// How long the server waits for its clients.
const PATIENCE: Duration = Duration::from_secs(300);

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// The first so many bytes of one pattern.
fn body(len: usize) -> Bytes {
    static LONGEST: OnceLock<Bytes> = OnceLock::new();
    LONGEST.get_or_init(|| pattern(LARGE).into()).slice(..len)
}

/// Answers with as many bytes as the path says, or a few.
async fn answer(request: Request<RequestBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    let len = request.uri().path()[1..].parse().unwrap_or(10);
    Ok(Response::new(Full::new(body(len))))
}

fn serving(kind: BackendKind, workers: usize) -> Served {
    let limits = Limits {
        // So that nothing is cut off because the machine is busy.
        drain: PATIENCE,
        write: PATIENCE,
        ..Limits::default()
    };
    Served::on_workers(kind, workers, limits, || async { Ok(service_fn(answer)) })
}

/// On each backend, with one worker and with two.
fn on_each(test: impl Fn(Served)) {
    for kind in backends() {
        for workers in [1, 2] {
            eprintln!("on {kind} with {workers}");
            test(serving(kind, workers));
        }
    }
}

fn large() -> String {
    format!("GET /{LARGE} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[test]
fn answer_that_was_begun_arrives_whole_when_the_server_stops() {
    on_each(|served| {
        let mut clients: Vec<Client> = (0..3).map(|_| served.connect()).collect();
        for client in &mut clients {
            client.send(large());
            assert_eq!(client.head().status, 200);
        }
        // An answer that is all in the hands of the system or of the stream, and not taken.
        let mut taken = served.connect();
        taken.send("GET /40000 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(taken.stream().peek(&mut [0]).unwrap(), 1);
        served.stop.ask();
        for client in clients {
            assert!(client.rest() == body(LARGE));
        }
        assert_eq!(taken.answer().body, body(40_000));
        assert!(taken.rest().is_empty());
        let (totals, lines) = served.finish();
        assert_eq!(totals.requests, 4);
        let broken = lines.iter().any(|line| line.contains("broken off"));
        assert!(!broken, "{lines:?}");
    });
}

#[test]
fn client_that_reads_byte_by_byte_gets_every_answer() {
    on_each(|served| {
        let mut client = served.connect();
        client.send("GET /3000 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5));
        client.end_sending();
        let mut bytes = Vec::new();
        let mut byte = [0];
        while client.stream().read_exact(&mut byte).is_ok() {
            bytes.push(byte[0]);
        }
        let body = body(3000);
        let whole = |window: &&[u8]| *window == body;
        assert_eq!(bytes.windows(body.len()).filter(whole).count(), 5);
    });
}

#[test]
fn many_requests_at_once_and_then_the_end_are_all_answered() {
    on_each(|served| {
        let mut client = served.connect();
        client.send(REQUEST.repeat(500));
        client.send(large());
        client.end_sending();
        for _ in 0..500 {
            assert_eq!(client.answer().body, body(10));
        }
        assert!(client.answer().body == body(LARGE));
        assert!(client.rest().is_empty());
    });
}

#[test]
fn answers_that_nobody_takes_are_forgotten_with_their_connections() {
    on_each(|served| {
        for round in 0..12 {
            let mut client = served.connect();
            client.send(large().repeat(3));
            if round % 3 > 0 {
                client.head();
            }
            match round % 2 {
                0 => reset(client),
                _ => drop(client),
            }
        }
        // The server is there for others, and has none of these left when it stops.
        assert!(served.connect().get("/100000").body == body(100_000));
        let began = Instant::now();
        let (totals, _) = served.finish();
        assert!(began.elapsed() < PATIENCE);
        assert!(totals.connections >= 8, "{totals:?}");
    });
}

#[test]
fn connections_that_are_left_open_hold_up_nobody_and_end_with_the_server() {
    on_each(|served| {
        let mut left: Vec<Client> = (0..200).map(|_| served.connect()).collect();
        for (number, client) in left.iter_mut().enumerate() {
            match number % 4 {
                0 => {}
                1 => client.send("GET / HT"),
                2 => client.send(REQUEST),
                _ => assert_eq!(client.get("/").status, 200),
            }
        }
        assert_eq!(served.connect().get("/").status, 200);
        let stop = served.stop.clone();
        let ends = std::thread::spawn(move || {
            for (number, mut client) in left.into_iter().enumerate() {
                if number % 4 == 1 {
                    // It is heard out: its request has begun.
                    client.try_send("TP/1.1\r\nHost: x\r\n\r\n");
                }
                drop(client.rest());
            }
        });
        stop.ask();
        ends.join().unwrap();
        served.finish();
    });
}

#[test]
fn http2_streams_with_small_windows_get_every_byte_also_when_the_server_stops() {
    const STREAMS: usize = 60;
    const LEN: usize = 30_000;
    for kind in backends() {
        for workers in [1, 2] {
            let served = serving(kind, workers);
            let (address, stop) = (served.address, served.stop.clone());
            let runtime = wharf::Runtime::builder().backend(kind).build().unwrap();
            runtime.block_on(async {
                let stream = wharf::net::TcpStream::connect(address).await.unwrap();
                let (mut sender, connection) = http2::Builder::new(WharfExecutor::new())
                    .initial_stream_window_size(1500)
                    .initial_connection_window_size(100_000)
                    .handshake(stream)
                    .await
                    .unwrap();
                let connection = wharf::spawn(connection);
                let mut answers = Vec::new();
                for _ in 0..STREAMS {
                    let request = Request::get(format!("http://test/{LEN}"));
                    let request = request.body(Empty::<Bytes>::new()).unwrap();
                    answers.push(sender.send_request(request));
                }
                let mut bodies = Vec::new();
                for answer in answers {
                    bodies.push(answer.await.unwrap().into_body());
                }
                stop.ask();
                // The last first, so that the others have to wait for their windows.
                for answer in bodies.into_iter().rev() {
                    let answer = answer.collect().await.unwrap().to_bytes();
                    assert!(answer == body(LEN));
                }
                drop(sender);
                connection.await.unwrap().unwrap();
            });
            drop(runtime);
            let (totals, _) = served.finish();
            assert_eq!(totals.requests, STREAMS as u64);
        }
    }
}

#[test]
fn stop_does_not_wait_for_a_client_that_is_gone() {
    on_each(|served| {
        let mut client = served.connect();
        client.send(large());
        assert_eq!(client.head().status, 200);
        client.stream().set_nonblocking(true).unwrap();
        served.stop.ask();
        let read = client.stream().read(&mut [0; 1000]);
        let late = |error: &std::io::Error| error.kind() == ErrorKind::WouldBlock;
        assert!(read.is_ok() || read.as_ref().is_err_and(late));
        reset(client);
        let began = Instant::now();
        served.finish();
        assert!(began.elapsed() < PATIENCE);
    });
}
