//! Routers of the wider ecosystem, whose handlers have to be `Send`.

use hyper_util::service::TowerToHyperService;
use wharf_http::Limits;

use crate::fixture::{Dir, backends};
use crate::served::Served;

/// The example is a module here, so that what stands in it is what is tested.
#[path = "../../examples/notes.rs"]
mod notes;

#[test]
fn axum_router_answers_with_files_held_across_awaits() {
    for kind in backends() {
        let dir = Dir::new();
        let path = dir.path().to_owned();
        let served = Served::start(kind, Limits::default(), move || async move {
            TowerToHyperService::new(notes::router(path))
        });
        let mut client = served.connect();
        let mut ask = |head: &str, body: &str| {
            let length = body.len();
            client.send(format!(
                "{head} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
            let answer = client.answer();
            (answer.status, String::from_utf8(answer.body).unwrap())
        };
        let nothing = String::new();
        assert_eq!(ask("GET /notes", ""), (200, nothing.clone()));
        assert_eq!(ask("PUT /notes/b", "beans"), (204, nothing.clone()));
        assert_eq!(ask("PUT /notes/a", "apples"), (204, nothing.clone()));
        assert_eq!(ask("GET /notes/b", ""), (200, "beans".to_owned()));
        assert_eq!(ask("GET /notes", ""), (200, "a\nb\n".to_owned()));
        assert_eq!(ask("DELETE /notes/a", ""), (204, nothing.clone()));
        assert_eq!(ask("GET /notes/a", "").0, 404);
        assert_eq!(ask("GET /notes/..%2fb", "").0, 400);
        assert_eq!(ask("POST /notes/b", "").0, 405);
        assert_eq!(ask("GET /nothing", ""), (404, nothing));
        let (totals, _) = served.finish();
        assert_eq!((totals.connections, totals.requests), (1, 10));
    }
}
