//! The static file service, asked without a socket.

use std::fs;
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use wharf_http::Files;

use crate::fixture::{Dir, on_each_backend, pattern};

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

async fn ask(files: &Files, method: Method, uri: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let response = files.answer(&head).await;
    let (head, body) = response.into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}

pub(crate) async fn get(files: &Files, uri: &str) -> Answer {
    ask(files, Method::GET, uri, &[]).await
}

#[test]
fn file_is_sent_byte_for_byte() {
    on_each_backend(async || {
        let dir = Dir::new();
        // Several reads, the last of them short.
        let bytes = pattern(700_001);
        dir.write("a b/data.bin", &bytes);
        dir.write("empty.txt", "");
        let files = Files::new(dir.path()).await.unwrap();
        let answer = get(&files, "/a%20b/data.bin?ignored").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("content-length"), "700001");
        assert!(answer.body == bytes);
        let answer = ask(&files, Method::HEAD, "/a%20b/data.bin", &[]).await;
        assert_eq!(answer.header("content-length"), "700001");
        assert!(answer.body.is_empty());
        let answer = get(&files, "/empty.txt").await;
        assert_eq!(
            (answer.status, answer.header("content-length")),
            (StatusCode::OK, "0")
        );
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    });
}

#[test]
fn ranges_are_sent_byte_for_byte() {
    on_each_backend(async || {
        let dir = Dir::new();
        let bytes = pattern(600_000);
        dir.write("data", &bytes);
        let files = Files::new(dir.path()).await.unwrap();
        let range = [("range", "bytes=1000-500999")];
        let answer = ask(&files, Method::GET, "/data", &range).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(answer.header("content-range"), "bytes 1000-500999/600000");
        assert!(answer.body == bytes[1000..501_000]);
        let ranges = [("range", "bytes=599990-,0-299999")];
        let answer = ask(&files, Method::GET, "/data", &ranges).await;
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string()
        );
        let boundary = answer
            .header("content-type")
            .split_once("boundary=")
            .unwrap()
            .1;
        let head = |range: &str| {
            format!(
                "--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {range}/600000\r\n\r\n"
            )
        };
        let mut expected = head("599990-599999").into_bytes();
        expected.extend(&bytes[599_990..]);
        expected.extend(b"\r\n");
        expected.extend(head("0-299999").into_bytes());
        expected.extend(&bytes[..300_000]);
        expected.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
        assert!(answer.body == expected);
        let answer = ask(&files, Method::GET, "/data", &[("range", "bytes=600000-")]).await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(answer.header("content-range"), "bytes */600000");
    });
}

#[test]
fn etag_revalidates_until_the_file_changes() {
    on_each_backend(async || {
        let dir = Dir::new();
        dir.write("a.txt", "one");
        let files = Files::new(dir.path()).await.unwrap();
        let first = get(&files, "/a.txt").await;
        let condition = [("if-none-match", first.header("etag"))];
        let again = ask(&files, Method::GET, "/a.txt", &condition).await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED);
        assert!(again.body.is_empty());
        let since = [("if-modified-since", first.header("last-modified"))];
        let again = ask(&files, Method::GET, "/a.txt", &since).await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED);
        // Another file of the same length takes its place.
        dir.write("b.txt", "two");
        fs::rename(dir.at("b.txt"), dir.at("a.txt")).unwrap();
        let again = ask(&files, Method::GET, "/a.txt", &condition).await;
        assert_eq!((again.status, again.text()), (StatusCode::OK, "two"));
    });
}

#[test]
fn file_that_is_changed_in_place_is_sent_as_it_is_now() {
    on_each_backend(async || {
        let dir = Dir::new();
        let files = {
            dir.write("a.txt", "-");
            Files::new(dir.path()).await.unwrap()
        };
        // As fast as can be: more than one change in a tick of the file system's clock.
        for round in 100..200 {
            let text = round.to_string();
            dir.write("a.txt", &text);
            let answer = get(&files, "/a.txt").await;
            assert_eq!((answer.status, answer.text()), (StatusCode::OK, &*text));
        }
    });
}

#[test]
fn directory_is_redirected_then_its_index_or_its_list() {
    on_each_backend(async || {
        let dir = Dir::new();
        dir.write("site/index.html", "<p>hello");
        dir.write("plain/b.txt", "b");
        dir.write("plain/sub/c.txt", "c");
        dir.write("plain/.hidden", "h");
        let files = Files::new(dir.path()).await.unwrap();
        let answer = get(&files, "/site?q=1").await;
        assert_eq!(answer.status, StatusCode::MOVED_PERMANENTLY);
        assert_eq!(answer.header("location"), "/site/?q=1");
        let answer = get(&files, "/site/").await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "<p>hello"));
        assert!(!answer.header("etag").is_empty());
        let answer = get(&files, "/plain/").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(
            answer.text().contains("href=\"sub/\"") && answer.text().contains("href=\"b.txt\"")
        );
        assert!(!answer.text().contains("hidden"));
        let head = ask(&files, Method::HEAD, "/plain/", &[]).await;
        assert_eq!(head.header("content-length"), answer.body.len().to_string());
        assert_eq!(get(&files, "//plain").await.header("location"), "/plain/");
        let quiet = files.clone().list(false);
        assert_eq!(get(&quiet, "/plain/").await.status, StatusCode::NOT_FOUND);
        assert_eq!(get(&quiet, "/site/").await.status, StatusCode::OK);
    });
}

#[test]
fn missing_and_misused_names_are_not_found() {
    on_each_backend(async || {
        let dir = Dir::new();
        dir.write("file", "x");
        dir.write(".env", "secret");
        let files = Files::new(dir.path()).await.unwrap();
        let long = format!("/{}", "a".repeat(300));
        for uri in ["/nothing", "/file/", "/file/below", "/.env", long.as_str()] {
            let answer = get(&files, uri).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{uri}");
            assert!(answer.text().contains("404 Not Found"));
        }
        let open = files.dot_files(true);
        assert_eq!(get(&open, "/.env").await.text(), "secret");
    });
}

#[test]
fn escapes_are_refused() {
    on_each_backend(async || {
        let dir = Dir::new();
        dir.write("secret", "secret");
        dir.write("root/file", "x");
        let files = Files::new(dir.at("root")).await.unwrap();
        for uri in [
            "/../secret",
            "/%2e%2e/secret",
            "/..%2fsecret",
            "/a/../../secret",
            "/%00",
            "/..%5csecret",
            "/%zz",
        ] {
            let answer = get(&files, uri).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{uri}");
            assert!(!answer.text().contains("secret"));
        }
        let absolute = dir.at("secret");
        let uri = format!("/{}", absolute.display());
        let status = get(&files, &uri).await.status;
        // The separators of Windows are refused before it is looked for.
        assert!(matches!(
            status,
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST
        ));
    });
}

#[test]
fn other_methods_are_not_allowed() {
    on_each_backend(async || {
        let dir = Dir::new();
        let files = Files::new(dir.path()).await.unwrap();
        let answer = ask(&files, Method::POST, "/", &[]).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS");
        let answer = ask(&files, Method::OPTIONS, "*", &[]).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    });
}

#[test]
fn file_that_shrinks_ends_the_body_with_an_error() {
    on_each_backend(async || {
        let dir = Dir::new();
        dir.write("data", pattern(1_000_000));
        let files = Files::new(dir.path()).await.unwrap();
        let (head, ()) = Request::get("/data").body(()).unwrap().into_parts();
        let mut body = files.answer(&head).await.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        fs::File::options()
            .write(true)
            .open(dir.at("data"))
            .unwrap()
            .set_len(10)
            .unwrap();
        assert!(!first.is_empty() && first.len() < 1_000_000);
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn root_must_be_a_directory() {
    on_each_backend(async || {
        let dir = Dir::new();
        dir.write("file", "x");
        assert!(Files::new(dir.at("file")).await.is_err());
        let error = Files::new(dir.at("nothing")).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    });
}

#[test]
fn entries_that_vanish_are_not_listed() {
    on_each_backend(async || {
        let dir = Dir::new();
        dir.write("sub/a", "x");
        let files = Files::new(dir.path()).await.unwrap();
        fs::remove_dir_all(dir.at("sub")).unwrap();
        assert_eq!(get(&files, "/sub/").await.status, StatusCode::NOT_FOUND);
    });
}

#[test]
fn root_that_is_exchanged_for_another_is_noticed() {
    on_each_backend(async || {
        let dir = Dir::new();
        dir.write("site/page", "old");
        let files = Files::new(dir.at("site")).await.unwrap();
        assert_eq!(get(&files, "/page").await.text(), "old");
        dir.write("next/page", "new");
        fs::rename(dir.at("site"), dir.at("previous")).unwrap();
        fs::rename(dir.at("next"), dir.at("site")).unwrap();
        // The service looks again by itself, not at each request.
        let seen = wharf::time::timeout(Duration::from_secs(30), async {
            while get(&files, "/page").await.text() != "new" {
                wharf::time::sleep(Duration::from_millis(20)).await;
            }
        });
        seen.await.expect("it is noticed");
        // One that is gone has nothing, and is there again when it comes back.
        fs::remove_dir_all(dir.at("site")).unwrap();
        assert_eq!(get(&files, "/page").await.status, StatusCode::NOT_FOUND);
        dir.write("site/page", "third");
        let seen = wharf::time::timeout(Duration::from_secs(30), async {
            while get(&files, "/page").await.status != StatusCode::OK {
                wharf::time::sleep(Duration::from_millis(20)).await;
            }
        });
        seen.await.expect("it is found again");
        assert_eq!(get(&files, "/page").await.text(), "third");
    });
}

#[test]
fn requests_for_one_file_do_not_hang_on_each_other() {
    on_each_backend(async || {
        let dir = Dir::new();
        dir.write("page", "here");
        let files = Files::new(dir.path()).await.unwrap();
        // So that the root is open, and the first thing that is waited for is the file.
        get(&files, "/page").await;
        for round in 0..3 {
            let mut asking = Vec::new();
            for number in 0..5 {
                let mut one = Box::pin(get(&files, "/page"));
                match poll_fn(|cx| Poll::Ready(one.as_mut().poll(cx))).await {
                    // The others wait for one look together.
                    Poll::Ready(answer) => assert_eq!((number, answer.text()), (0, "here")),
                    Poll::Pending => asking.push(one),
                }
            }
            // Those who came first go away, or are not looked after for a while.
            if round > 0 {
                drop(asking.drain(..round));
            }
            for one in asking.into_iter().rev() {
                let answer = wharf::time::timeout(Duration::from_secs(30), one).await;
                assert_eq!(answer.expect("it is answered").text(), "here");
            }
        }
    });
}
