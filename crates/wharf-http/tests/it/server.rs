//! The server as clients find it: good ones, slow ones, broken ones and hostile ones.

use std::convert::Infallible;
use std::fs;
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2;
use hyper::service::service_fn;
use wharf_http::{BodyTooLarge, Files, Limits, RequestBody};
use wharf_queue::BackendKind;

use crate::client::{Client, reset};
use crate::fixture::{Dir, backends, pattern};
use crate::served::Served;

/// Long enough for a machine that is busy, short enough to be waited for.
const SHORT: Duration = Duration::from_millis(150);

/// A site with a bit of everything.
fn site() -> Dir {
    let dir = Dir::new();
    dir.write("hello.txt", "hello, world\n");
    dir.write("sub/a.txt", "a");
    dir.write("big.bin", pattern(3_000_000));
    dir
}

#[test]
fn files_ranges_directories_and_errors_are_served() {
    for kind in backends() {
        let dir = site();
        let served = Served::files(kind, Limits::default(), &dir);
        let mut client = served.connect();
        let answer = client.get("/hello.txt");
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, b"hello, world\n".as_slice())
        );
        assert!(!answer.header("date").is_empty());
        client.send("GET /hello.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=7-11\r\n\r\n");
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (206, b"world".as_slice())
        );
        let answer = client.get("/");
        assert!(
            String::from_utf8(answer.body)
                .unwrap()
                .contains("href=\"sub/\"")
        );
        assert_eq!(client.get("/sub").header("location"), "/sub/");
        assert_eq!(client.get("/nothing").status, 404);
        assert_eq!(client.get("/../hello.txt").status, 400);
        assert_eq!(client.get("/%2e%2e/hello.txt").status, 400);
        assert!(client.get("/big.bin").body == pattern(3_000_000));
        client.send("HEAD /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.head().header("content-length"), "3000000");
        client.send("DELETE /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.answer().status, 405);
        // All of it on one connection.
        let (totals, lines) = served.finish();
        assert_eq!((totals.connections, totals.requests), (1, 10));
        assert_eq!(totals.by_class[2], 5);
        assert_eq!(lines.len(), 10);
        assert!(
            lines[0].contains("\"GET /hello.txt HTTP/1.1\" 200 13 "),
            "{}",
            lines[0]
        );
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    for kind in backends() {
        let dir = site();
        let served = Served::files(kind, Limits::default(), &dir);
        let mut client = served.connect();
        let one =
            "GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\nGET /sub/a.txt HTTP/1.1\r\nHost: x\r\n\r\n";
        client.send(one.repeat(20));
        for _ in 0..20 {
            assert_eq!(client.answer().body, b"hello, world\n");
            assert_eq!(client.answer().body, b"a");
        }
    }
}

#[test]
fn requests_may_come_byte_by_byte() {
    for kind in backends() {
        let dir = site();
        let served = Served::files(kind, Limits::default(), &dir);
        let mut client = served.connect();
        for byte in b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n" {
            client.send([*byte]);
        }
        assert_eq!(client.answer().body, b"hello, world\n");
    }
}

#[test]
fn connections_are_kept_or_closed_as_asked() {
    for kind in backends() {
        let dir = site();
        let served = Served::files(kind, Limits::default(), &dir);
        let mut client = served.connect();
        client.send("GET /hello.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().header("connection"), "close");
        assert!(client.rest().is_empty());
        let mut client = served.connect();
        client.send("GET /hello.txt HTTP/1.0\r\n\r\n");
        let rest = client.rest();
        assert!(rest.starts_with(b"HTTP/1.0 200") && rest.ends_with(b"hello, world\n"));
    }
}

#[test]
fn half_closed_client_gets_its_answer() {
    for kind in backends() {
        let dir = site();
        let served = Served::files(kind, Limits::default(), &dir);
        let mut client = served.connect();
        client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
        client.end_sending();
        assert!(client.answer().body == pattern(3_000_000));
        assert!(client.rest().is_empty());
    }
}

/// What a limit in the case of a client that keeps the server waiting comes to: the connection ends
/// and nothing has been answered.
fn expect_end(client: Client) {
    let began = Instant::now();
    assert_eq!(client.rest(), b"");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn silent_client_is_closed_when_its_idle_time_is_over() {
    for kind in backends() {
        let dir = site();
        let limits = Limits {
            idle: SHORT,
            ..Limits::default()
        };
        let served = Served::files(kind, limits, &dir);
        expect_end(served.connect());
        let mut client = asking(&served, "/hello.txt");
        assert_eq!(client.answer().status, 200);
        expect_end(client);
    }
}

/// A client whose request is being answered. On a busy machine one may be closed as idle before it
/// has asked; then another is made.
fn asking(served: &Served, target: &str) -> Client {
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    for _ in 0..50 {
        let mut client = served.connect();
        if client.try_send(&request) && matches!(client.stream().peek(&mut [0]), Ok(1)) {
            return client;
        }
    }
    panic!("no request is answered");
}

#[test]
fn slow_head_is_closed_however_it_drips() {
    for kind in backends() {
        let dir = site();
        let limits = Limits {
            head: SHORT,
            ..Limits::default()
        };
        let served = Served::files(kind, limits, &dir);
        // The server's time begins at the latest when this thread has come back from here.
        let began = Instant::now();
        let mut client = served.connect();
        client
            .stream()
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        // A byte every few milliseconds, for as long as the server listens.
        let is_open = |client: &Client| {
            let read = (&mut client.stream()).read(&mut [0]);
            let late = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
            matches!(&read, Err(error) if late.contains(&error.kind()))
        };
        client.send("GET / HTTP/1.1\r\nX: ");
        while is_open(&client) && client.try_send("x") {
            assert!(began.elapsed() < Duration::from_secs(10));
        }
        assert!(began.elapsed() >= SHORT);
        // The preface of HTTP/2, not finished.
        let mut client = served.connect();
        client.send("PRI * HTTP/2.0\r\n");
        expect_end(client);
        assert_eq!(served.totals().timed_out, 2);
    }
}

#[test]
fn client_that_takes_nothing_is_closed() {
    for kind in backends() {
        let dir = site();
        // More than the buffers of both sides.
        fs::File::create(dir.at("huge"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        let limits = Limits {
            write: SHORT,
            ..Limits::default()
        };
        let served = Served::files(kind, limits, &dir);
        let mut client = served.connect();
        client.send("GET /huge HTTP/1.1\r\nHost: x\r\n\r\n");
        let began = Instant::now();
        while served.totals().timed_out == 0 {
            assert!(began.elapsed() < Duration::from_secs(10));
            std::thread::yield_now();
        }
        assert!(client.rest().len() < 1 << 30);
        let (totals, lines) = served.finish();
        assert_eq!(totals.requests, 1);
        assert!(lines[0].ends_with("broken off"), "{}", lines[0]);
    }
}

#[test]
fn large_and_broken_heads_are_refused() {
    for kind in backends() {
        let dir = site();
        let served = Served::files(kind, Limits::default(), &dir);
        let status = |request: &str| {
            let mut client = served.connect();
            client.try_send(request);
            let status = client.head().status;
            // It is closed then, and the rest of the bomb did not reset it before.
            client.rest();
            status
        };
        let fields: String = (0..200).map(|at| format!("X-{at}: y\r\n")).collect();
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{fields}\r\n")), 431);
        let long = "y".repeat(200_000);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n")), 431);
        assert!([414, 431].contains(&status(&format!("GET /{long} HTTP/1.1\r\n\r\n"))));
        for request in [
            "GARBAGE\r\n\r\n",
            "GET / HTTP/9.9\r\n\r\n",
            "GET /\r\n / HTTP/1.1\r\n\r\n",
            "\0\0\0\0\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        ] {
            assert_eq!(status(request), 400, "{request:?}");
        }
        // A field that never ends, from a client that does not listen.
        let mut client = served.connect();
        client.send("GET / HTTP/1.1\r\nX: ");
        let piece = "y".repeat(64 * 1024);
        for _ in 0..2000 {
            if !client.try_send(&piece) {
                break;
            }
        }
        assert_eq!(served.connect().get("/hello.txt").status, 200);
        let (_, lines) = served.finish();
        assert!(
            lines.iter().any(|line| line.contains("\"-\" 400 ")),
            "{lines:?}"
        );
        assert!(
            lines.iter().any(|line| line.contains("\"-\" 431 ")),
            "{lines:?}"
        );
    }
}

/// Answers with the length of the body that was sent, or with what kept it from being read.
async fn measure(request: Request<RequestBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = match request.into_body().collect().await {
        Ok(body) => body.to_bytes().len().to_string(),
        Err(error) if error.is::<BodyTooLarge>() => "too large".to_owned(),
        Err(error) => error.to_string(),
    };
    Ok(Response::new(Full::from(text)))
}

fn measuring(kind: BackendKind, limits: Limits) -> Served {
    Served::start(kind, limits, || async { service_fn(measure) })
}

#[test]
fn bodies_are_limited_whether_or_not_they_say_their_length() {
    for kind in backends() {
        let limits = Limits {
            body_bytes: 1000,
            ..Limits::default()
        };
        let served = measuring(kind, limits);
        let mut client = served.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{}",
            "x".repeat(1000)
        ));
        assert_eq!(client.answer().body, b"1000");
        let mut client = served.connect();
        // The client is in the middle of its body and reads the answer only then.
        client.send("POST / HTTP/1.1\r\nContent-Length: 500000\r\n\r\n");
        client.try_send("x".repeat(500_000));
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (413, "close"));
        client.end_sending();
        assert!(client.rest().is_empty());
        let mut client = served.connect();
        client.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(format!("400\r\n{}\r\n", "x".repeat(1024)));
        assert_eq!(client.answer().body, b"too large");
    }
}

#[test]
fn slow_body_is_closed() {
    for kind in backends() {
        let limits = Limits {
            body: SHORT,
            ..Limits::default()
        };
        let served = measuring(kind, limits);
        let mut client = served.connect();
        client.send("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345");
        expect_end(client);
        assert_eq!(served.totals().timed_out, 1);
        let (totals, lines) = served.finish();
        // There was a request, and no answer to it.
        assert_eq!((totals.requests, totals.by_class[0]), (1, 1));
        assert!(lines[0].contains("\" - 0 "), "{}", lines[0]);
    }
}

#[test]
fn body_is_asked_for_when_the_client_waits() {
    for kind in backends() {
        let served = measuring(kind, Limits::default());
        let mut client = served.connect();
        client.send("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
        assert_eq!(client.head().status, 100);
        client.send("abc");
        assert_eq!(client.answer().body, b"3");
    }
}

#[test]
fn panic_in_a_handler_is_500_and_the_server_goes_on() {
    for kind in backends() {
        let served = Served::start(kind, Limits::default(), || async {
            service_fn(|request: Request<RequestBody>| {
                // Once before the first await and once after it.
                assert!(request.uri().path() != "/early", "wanted");
                async move {
                    wharf::task::yield_now().await;
                    assert!(request.uri().path() != "/late", "wanted");
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("fine")))
                }
            })
        });
        for target in ["/early", "/late"] {
            let mut client = served.connect();
            let answer = client.get(target);
            assert_eq!((answer.status, answer.header("connection")), (500, "close"));
            assert_eq!(served.connect().get("/").body, b"fine");
        }
        let (totals, _) = served.finish();
        assert_eq!((totals.panics, totals.by_class[5]), (2, 2));
    }
}

#[test]
fn handler_that_fails_is_500() {
    for kind in backends() {
        let served = Served::start(kind, Limits::default(), || async {
            service_fn(|_: Request<RequestBody>| async {
                Err::<Response<Full<Bytes>>, _>("it does not work")
            })
        });
        assert_eq!(served.connect().get("/").status, 500);
    }
}

#[test]
fn reset_connections_leave_the_server_as_it_was() {
    for kind in backends() {
        let dir = site();
        let served = Served::files(kind, Limits::default(), &dir);
        for round in 0..50 {
            let mut client = served.connect();
            match round % 4 {
                0 => {}
                1 => client.send("GET /big.bin HT"),
                2 => client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n"),
                _ => {
                    client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
                    client.head();
                }
            }
            reset(client);
        }
        assert!(served.connect().get("/big.bin").body == pattern(3_000_000));
        let (totals, _) = served.finish();
        assert!(totals.connections > 25);
    }
}

#[test]
fn file_that_shrinks_closes_the_connection_short() {
    for kind in backends() {
        let dir = site();
        fs::File::create(dir.at("huge"))
            .unwrap()
            .set_len(256 << 20)
            .unwrap();
        let served = Served::files(kind, Limits::default(), &dir);
        let mut client = served.connect();
        client.send("GET /huge HTTP/1.1\r\nHost: x\r\n\r\n");
        let head = client.head();
        assert_eq!(head.header("content-length"), (256 << 20).to_string());
        fs::File::options()
            .write(true)
            .open(dir.at("huge"))
            .unwrap()
            .set_len(1000)
            .unwrap();
        let rest = client.rest();
        assert!(rest.len() < 256 << 20);
        // Not a byte that was not in the file.
        assert!(rest.iter().all(|byte| *byte == 0));
        assert_eq!(served.connect().get("/hello.txt").status, 200);
    }
}

#[test]
fn stop_finishes_what_is_under_way_and_closes_what_is_idle() {
    for kind in backends() {
        let dir = site();
        fs::File::create(dir.at("huge"))
            .unwrap()
            .set_len(64 << 20)
            .unwrap();
        let served = Served::files(kind, Limits::default(), &dir);
        let mut idle = served.connect();
        idle.get("/hello.txt");
        let silent = served.connect();
        let mut busy = served.connect();
        busy.send("GET /huge HTTP/1.1\r\nHost: x\r\n\r\n");
        let head = busy.head();
        served.stop.ask();
        assert!(idle.rest().is_empty());
        assert!(silent.rest().is_empty());
        assert_eq!(busy.rest().len().to_string(), head.header("content-length"));
        let address = served.address;
        let (totals, _) = served.finish();
        assert_eq!(totals.requests, 2);
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}

#[test]
fn stop_cuts_off_what_does_not_end_in_time() {
    for kind in backends() {
        let limits = Limits {
            drain: SHORT,
            ..Limits::default()
        };
        let served = Served::start(kind, limits, || async {
            service_fn(|_: Request<RequestBody>| async {
                std::future::pending::<()>().await;
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("never")))
            })
        });
        let mut client = served.connect();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        // It is being handled before the stop is asked for.
        while served.totals().connections == 0 {
            std::thread::yield_now();
        }
        let began = Instant::now();
        served.finish();
        assert!(began.elapsed() < Duration::from_secs(10));
        assert!(client.rest().is_empty());
    }
}

#[test]
#[cfg_attr(
    windows,
    ignore = "handles are counted by the tests of the runtime here"
)]
fn many_short_connections_leak_no_descriptor() {
    for kind in backends() {
        let dir = site();
        let served = Served::files(kind, Limits::default(), &dir);
        let ask = || assert_eq!(served.connect().get("/hello.txt").status, 200);
        let census = || fs::read_dir("/proc/self/fd").unwrap().count();
        (0..20).for_each(|_| ask());
        let before = census();
        (0..1000).for_each(|_| ask());
        // Other tests of this process open and close theirs; a leak would be a thousand.
        assert!(census() < before + 500);
        let (totals, _) = served.finish();
        assert_eq!((totals.connections, totals.requests), (1020, 1020));
    }
}

#[test]
fn answers_without_a_body_have_none() {
    for kind in backends() {
        let dir = site();
        let served = Served::files(kind, Limits::default(), &dir);
        let mut client = served.connect();
        let etag = client.get("/hello.txt").header("etag").to_owned();
        client.send(format!(
            "GET /hello.txt HTTP/1.1\r\nHost: x\r\nIf-None-Match: {etag}\r\n\r\n"
        ));
        assert_eq!(client.head().status, StatusCode::NOT_MODIFIED.as_u16());
        client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.head().status, 204);
        client.send("HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.head().status, 404);
        assert_eq!(client.get("/hello.txt").status, 200);
        let (_, lines) = served.finish();
        assert!(
            lines.iter().all(|line| !line.contains("broken off")),
            "{lines:?}"
        );
    }
}

#[test]
fn http2_is_spoken_to_whoever_begins_with_it() {
    for kind in backends() {
        let dir = site();
        let served = Served::files(kind, Limits::default(), &dir);
        let address = served.address;
        let runtime = wharf::Runtime::builder().backend(kind).build().unwrap();
        runtime.block_on(async {
            let stream = wharf::net::TcpStream::connect(address).await.unwrap();
            let (mut sender, connection) = http2::handshake(Local, stream).await.unwrap();
            let connection = wharf::spawn(connection);
            let ask = |target: &str| {
                let request = Request::get(format!("http://test{target}"));
                request.body(Empty::<Bytes>::new()).unwrap()
            };
            // At once, on one connection.
            let small = sender.send_request(ask("/hello.txt"));
            let big = sender.send_request(ask("/big.bin"));
            let missing = sender.send_request(ask("/nothing"));
            let body = big.await.unwrap().into_body().collect().await.unwrap();
            assert!(body.to_bytes() == pattern(3_000_000));
            let body = small.await.unwrap().into_body().collect().await.unwrap();
            assert_eq!(body.to_bytes(), "hello, world\n");
            assert_eq!(missing.await.unwrap().status(), 404);
            drop(sender);
            connection.await.unwrap().unwrap();
        });
        // Only a runtime that ends, or runs, closes what was dropped.
        drop(runtime);
        let (totals, lines) = served.finish();
        assert_eq!((totals.connections, totals.requests), (1, 3));
        let line = lines.iter().find(|line| line.contains("/big.bin")).unwrap();
        assert!(
            line.contains("\"GET /big.bin HTTP/2.0\" 200 3000000 "),
            "{line}"
        );
    }
}

#[test]
fn http2_client_that_opens_no_window_is_closed() {
    for kind in backends() {
        let dir = site();
        let limits = Limits {
            write: SHORT,
            ..Limits::default()
        };
        let served = Served::files(kind, limits, &dir);
        let address = served.address;
        let runtime = wharf::Runtime::builder().backend(kind).build().unwrap();
        runtime.block_on(async {
            let stream = wharf::net::TcpStream::connect(address).await.unwrap();
            let (mut sender, connection) = http2::handshake(Local, stream).await.unwrap();
            let connection = wharf::spawn(connection);
            let request = Request::get("http://test/big.bin");
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            // On a busy machine the connection may be closed before this is looked at.
            let response = sender.send_request(request).await;
            // The body is not read, so the window of 64 KiB is used up and stays so.
            let ended = wharf::time::timeout(Duration::from_secs(10), connection).await;
            drop(ended.expect("the server closes the connection"));
            drop(response);
        });
        assert_eq!(served.totals().timed_out, 1);
    }
}

/// Runs hyper's tasks on this worker.
#[derive(Clone)]
struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(wharf::spawn(future));
    }
}

#[test]
fn slow_body_is_closed_with_http2_too() {
    for kind in backends() {
        let limits = Limits {
            body: SHORT,
            ..Limits::default()
        };
        let served = measuring(kind, limits);
        let address = served.address;
        let runtime = wharf::Runtime::builder().backend(kind).build().unwrap();
        runtime.block_on(async {
            let stream = wharf::net::TcpStream::connect(address).await.unwrap();
            let (mut sender, connection) = http2::handshake(Local, stream).await.unwrap();
            let connection = wharf::spawn(connection);
            let request = Request::post("http://test/").body(Never).unwrap();
            let answer =
                wharf::time::timeout(Duration::from_secs(10), sender.send_request(request));
            answer.await.expect("the server ends it").unwrap_err();
            drop(connection.await);
        });
        assert_eq!(served.totals().timed_out, 1);
    }
}

/// A body of which nothing ever comes.
struct Never;

impl http_body::Body for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Pending
    }
}

/// A limit that passes while a handler keeps the worker to itself is found passed, once.
#[test]
fn handler_that_computes_past_a_limit_stalls_nothing() {
    for kind in backends() {
        let limits = Limits {
            idle: SHORT,
            ..Limits::default()
        };
        let served = Served::start(kind, limits, || async {
            service_fn(|_: Request<RequestBody>| {
                let began = Instant::now();
                while began.elapsed() < 2 * SHORT {
                    std::hint::spin_loop();
                }
                std::future::ready(Ok::<_, Infallible>(Response::new(String::from("done"))))
            })
        });
        let mut client = asking(&served, "/");
        assert_eq!(client.answer().body, b"done");
        expect_end(client);
        served.finish();
    }
}

#[test]
fn large_file_is_sent_whole_and_among_other_answers() {
    for kind in backends() {
        let dir = site();
        // Parts of several lengths, the last of them too short to be sent as one.
        let bytes = pattern(3 * 1024 * 1024 + 5000);
        dir.write("large.bin", &bytes);
        let served = Served::files(kind, Limits::default(), &dir);
        let mut client = served.connect();
        // Asked for in one go; while the first is sent nobody reads the others.
        let get = "GET /large.bin HTTP/1.1\r\nHost: test\r\n";
        client.send(format!(
            "{get}\r\n{get}Range: bytes=1000000-2000000\r\n\r\n\
             {get}Range: bytes=5-9,100000-1100000,-1000000\r\n\r\n{get}\r\n"
        ));
        assert!(client.answer().body == bytes, "{kind}: whole");
        let part = client.answer();
        assert_eq!(part.status, 206);
        assert!(part.body == bytes[1_000_000..=2_000_000], "{kind}: a range");
        let parts = client.answer();
        let at = |range: &[u8]| parts.body.windows(range.len()).any(|part| part == range);
        assert!(at(&bytes[5..=9]), "{kind}: the first of the ranges");
        assert!(at(&bytes[100_000..=1_100_000]), "{kind}: the second");
        assert!(at(&bytes[bytes.len() - 1_000_000..]), "{kind}: the third");
        assert!(client.answer().body == bytes, "{kind}: whole again");
        // The connection is as good as before, and its reading side, too.
        assert_eq!(client.get("/missing").status, 404);
        let (_, lines) = served.finish();
        assert_eq!(lines.len(), 5, "{lines:?}");
    }
}

#[test]
fn whoever_wraps_a_body_gets_its_bytes() {
    for kind in backends() {
        let dir = site();
        let bytes = pattern(1_000_000);
        dir.write("large.bin", &bytes);
        let path = dir.path().to_owned();
        let served = Served::start(kind, Limits::default(), move || async move {
            let files = Files::new(path).await.unwrap();
            service_fn(move |request: Request<RequestBody>| {
                let files = files.clone();
                async move {
                    let (head, _) = request.into_parts();
                    // What looks at the bytes on their way must not find anything else.
                    let flip = |bytes: Bytes| bytes.iter().map(|byte| !byte).collect::<Bytes>();
                    let answer = files.answer(&head).await;
                    let answer =
                        answer.map(|body| body.map_frame(move |frame| frame.map_data(flip)));
                    Ok::<_, Infallible>(answer)
                }
            })
        });
        let flipped: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        assert!(served.connect().get("/large.bin").body == flipped, "{kind}");
    }
}

#[test]
fn client_that_takes_a_large_file_slowly_gets_all_of_it() {
    for kind in backends() {
        let dir = site();
        let bytes = pattern(8 * 1024 * 1024);
        dir.write("large.bin", &bytes);
        let served = Served::files(kind, Limits::default(), &dir);
        let mut slow = served.connect();
        slow.send("GET /large.bin HTTP/1.1\r\nHost: test\r\n\r\n");
        slow.head();
        // Its sending waits for the client; others are answered meanwhile, and one that goes away
        // in the middle takes nothing with it.
        let mut gone = served.connect();
        gone.send("GET /large.bin HTTP/1.1\r\nHost: test\r\n\r\n");
        gone.head();
        reset(gone);
        assert!(served.connect().get("/large.bin").body == bytes, "{kind}");
        slow.end_sending();
        assert!(slow.rest() == bytes, "{kind}: slowly");
    }
}
