//! One server on all workers of a runtime.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use wharf::sync::channel;
use wharf_http::{Limits, RequestBody, Server, Stop};

use crate::client::Client;
use crate::fixture::backends;
use crate::served::Served;

const WORKERS: usize = 3;

fn text(text: impl Into<Bytes>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(text.into())))
}

/// The numbers of the worker and of the requests that it has answered, by this service.
async fn numbered(count: Rc<RefCell<usize>>) -> Result<Response<Full<Bytes>>, Infallible> {
    *count.borrow_mut() += 1;
    let number = *count.borrow();
    text(format!("{} {number}", wharf::runtime::worker()))
}

#[test]
fn connections_are_spread_over_the_workers_and_stay_there() {
    for kind in backends() {
        let served = Served::on_workers(kind, WORKERS, Limits::default(), || async {
            // What is no `Send` belongs to one worker.
            let count = Rc::new(RefCell::new(0));
            Ok(service_fn(move |_: Request<RequestBody>| {
                numbered(count.clone())
            }))
        });
        let mut clients: Vec<Client> = (0..30).map(|_| served.connect()).collect();
        let mut places = vec![None; clients.len()];
        let mut answered = BTreeMap::new();
        for _ in 0..3 {
            for (client, place) in clients.iter_mut().zip(&mut places) {
                let body = String::from_utf8(client.get("/").body).unwrap();
                let (worker, number) = body.split_once(' ').unwrap();
                let stays = *place.get_or_insert_with(|| worker.to_owned()) == worker;
                assert!(stays, "{place:?}, then {worker}");
                answered.insert(worker.to_owned(), number.parse::<usize>().unwrap());
            }
        }
        // Each connection has asked three times.
        assert_eq!(answered.values().sum::<usize>(), 90);
        assert_eq!(answered.len(), WORKERS);
        let is_fair = |requests: &usize| (27..=33).contains(requests);
        assert!(answered.values().all(is_fair), "{answered:?}");
        let (totals, lines) = served.finish();
        assert_eq!((totals.connections, totals.requests), (30, 90));
        assert_eq!(lines.len(), 90);
    }
}

#[test]
fn stop_finishes_what_is_under_way_on_every_worker() {
    for kind in backends() {
        let (began, begins) = mpsc::channel();
        let (open, gate) = channel::unbounded::<Infallible>();
        let served = Served::on_workers(kind, WORKERS, Limits::default(), move || {
            let (began, gate) = (began.clone(), gate.clone());
            async move {
                Ok(service_fn(move |_: Request<RequestBody>| {
                    let gate = gate.clone();
                    began.send(()).unwrap();
                    async move {
                        // It opens when the test lets go of it.
                        gate.recv().await.unwrap_err();
                        text("done")
                    }
                }))
            }
        });
        // In this order: what is in the system's queue when the listener closes is reset.
        let idle: Vec<Client> = (0..9).map(|_| served.connect()).collect();
        let mut clients: Vec<Client> = (0..9).map(|_| served.connect()).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        for _ in &clients {
            begins.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        served.stop.ask();
        for client in idle {
            assert!(client.rest().is_empty());
        }
        drop(open);
        for mut client in clients {
            assert_eq!(client.answer().body, b"done");
            assert!(client.rest().is_empty());
        }
        assert_eq!(served.finish().0.requests, 9);
    }
}

#[test]
fn service_that_cannot_be_made_ends_the_server_everywhere() {
    for kind in backends() {
        let builder = wharf::Runtime::builder().backend(kind).workers(WORKERS);
        let runtime = builder.build().unwrap();
        let stop = Stop::new();
        let outcome = runtime.block_on(async {
            let listener = wharf::net::TcpListener::bind("127.0.0.1:0").await?;
            let make = || async {
                if wharf::runtime::worker() == 1 {
                    return Err(io::Error::other("not here"));
                }
                Ok(service_fn(|_: Request<RequestBody>| async { text("") }))
            };
            Server::new()
                .serve_on_workers(listener, make, stop.clone())
                .await
        });
        assert_eq!(outcome.unwrap_err().to_string(), "not here");
        assert!(stop.is_asked());
    }
}

#[test]
fn service_whose_making_panics_ends_the_server_everywhere() {
    for kind in backends() {
        let builder = wharf::Runtime::builder().backend(kind).workers(WORKERS);
        let runtime = builder.build().unwrap();
        let stop = Stop::new();
        let outcome = runtime.block_on(async {
            let listener = wharf::net::TcpListener::bind("127.0.0.1:0").await?;
            let make = || async {
                assert!(wharf::runtime::worker() != 1, "not here");
                Ok(service_fn(|_: Request<RequestBody>| async { text("") }))
            };
            Server::new()
                .serve_on_workers(listener, make, stop.clone())
                .await
        });
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("panicked"), "{error}");
        assert!(stop.is_asked());
    }
}

#[test]
fn connections_of_a_server_that_is_dropped_go_on() {
    for kind in backends() {
        let builder = wharf::Runtime::builder().backend(kind).workers(WORKERS);
        let runtime = builder.build().unwrap();
        runtime.block_on(async {
            // Nothing that a stop would wait for.
            let limits = Limits {
                drain: Duration::ZERO,
                ..Limits::default()
            };
            let listener = wharf::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr();
            let make = || async { Ok(service_fn(|_: Request<RequestBody>| async { text("on") })) };
            let server = wharf::spawn(async move {
                let server = Server::new().limits(limits);
                server.serve_on_workers(listener, make, Stop::new()).await
            });
            let ask = |mut clients: Vec<Client>| {
                wharf::spawn_blocking(move || {
                    for client in &mut clients {
                        assert_eq!(client.get("/").body, b"on");
                    }
                    clients
                })
            };
            let connecting = wharf::spawn_blocking(move || {
                (0..6).map(|_| Client::connect(address)).collect::<Vec<_>>()
            });
            let mut clients = ask(connecting.await.unwrap()).await.unwrap();
            server.abort();
            assert!(server.await.unwrap_err().is_cancelled());
            for _ in 0..20 {
                clients = ask(clients).await.unwrap();
            }
        });
    }
}
