//! Notes over HTTP: axum's router and extractors, on wharf.
//!
//! ```console
//! $ cargo run --release -p wharf-http --example notes -- 127.0.0.1:8080 notes
//! $ curl -X PUT --data 'buy milk' http://127.0.0.1:8080/notes/monday
//! $ curl http://127.0.0.1:8080/notes/monday
//! $ curl http://127.0.0.1:8080/notes
//! ```
//!
//! axum asks for handlers whose futures are `Send`. Tasks of wharf stay on their worker, but files
//! and streams are `Send`, so a handler holds them across an `await` as with any other runtime.

use std::io::{self, ErrorKind};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use hyper_util::service::TowerToHyperService;
use wharf::fs;
use wharf_http::{Server, Stop};

type Directory = State<Arc<FilePath>>;

/// The service, apart from where it listens.
pub(crate) fn router(directory: PathBuf) -> Router {
    Router::new()
        .route("/notes", get(list))
        .route("/notes/{name}", get(read).put(write).delete(remove))
        .with_state(Arc::from(directory))
}

async fn list(State(directory): Directory) -> Result<String, (StatusCode, String)> {
    let mut names = Vec::new();
    let mut entries = fs::read_dir(&directory).await.map_err(answer)?;
    while let Some(entry) = entries.next_entry().await.map_err(answer)? {
        names.push(entry.file_name().to_string_lossy().into_owned() + "\n");
    }
    names.sort();
    Ok(names.concat())
}

async fn read(
    State(directory): Directory,
    Path(name): Path<String>,
) -> Result<Vec<u8>, (StatusCode, String)> {
    let path = path_of(&directory, &name)?;
    fs::read(path).await.map_err(answer)
}

async fn write(
    State(directory): Directory,
    Path(name): Path<String>,
    note: String,
) -> Result<StatusCode, (StatusCode, String)> {
    let path = path_of(&directory, &name)?;
    let mut file = fs::File::create(path).await.map_err(answer)?;
    // The file is held while the disk works: it is `Send`, and so is this handler.
    file.write_all(note.as_bytes()).await.map_err(answer)?;
    file.sync_all().await.map_err(answer)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(
    State(directory): Directory,
    Path(name): Path<String>,
) -> Result<StatusCode, (StatusCode, String)> {
    let path = path_of(&directory, &name)?;
    fs::remove_file(path).await.map_err(answer)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A name of letters and digits leads nowhere else.
fn path_of(directory: &FilePath, name: &str) -> Result<PathBuf, (StatusCode, String)> {
    if name.is_empty() || !name.chars().all(char::is_alphanumeric) {
        let explained = "a note's name is of letters and digits\n".to_owned();
        return Err((StatusCode::BAD_REQUEST, explained));
    }
    Ok(directory.join(name))
}

fn answer(error: io::Error) -> (StatusCode, String) {
    let status = match error.kind() {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("{error}\n"))
}

#[wharf::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:8080".into());
    let directory = PathBuf::from(arguments.next().unwrap_or("notes".into()));
    fs::create_dir_all(&directory).await?;
    let listener = wharf::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr());

    let stop = Stop::new();
    let asked = stop.clone();
    wharf::spawn(async move {
        if wharf::signal::ctrl_c().await.is_ok() {
            asked.ask();
        }
    });
    let service = TowerToHyperService::new(router(directory));
    Server::new().serve(listener, service, stop).await
}
