//! The static file service and what only Unix has in a directory: links, pipes, sockets, names that
//! are not text, permission bits.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use http::StatusCode;
use wharf_http::Files;

use crate::files::get;
use crate::fixture::{Dir, on_each_backend};

#[test]
fn links_out_of_the_root_are_refused_unless_allowed() {
    on_each_backend(async || {
        let dir = Dir::new();
        dir.write("secret/file", "secret");
        dir.write("root/a/file", "inside");
        symlink(dir.at("secret/file"), dir.at("root/out")).unwrap();
        symlink("../secret", dir.at("root/out_dir")).unwrap();
        symlink("a/file", dir.at("root/in")).unwrap();
        symlink(dir.at("root/a"), dir.at("root/in_absolute")).unwrap();
        // The root itself may be reached by a link.
        symlink("root", dir.at("alias")).unwrap();
        let files = Files::new(dir.at("alias")).await.unwrap();
        assert_eq!(files.root(), fs::canonicalize(dir.at("root")).unwrap());
        for uri in ["/out", "/out_dir/file", "/out_dir/", "/out_dir"] {
            let answer = get(&files, uri).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{uri}");
            assert!(!answer.text().contains("secret"));
        }
        assert_eq!(get(&files, "/in").await.text(), "inside");
        assert_eq!(get(&files, "/in_absolute/file").await.text(), "inside");
        let open = files.links_out(true);
        assert_eq!(get(&open, "/out").await.text(), "secret");
        assert_eq!(get(&open, "/out_dir/file").await.text(), "secret");
        assert!(
            get(&open, "/out_dir/")
                .await
                .text()
                .contains("href=\"file\"")
        );
    });
}

#[test]
fn pipes_and_sockets_are_forbidden_and_do_not_block() {
    on_each_backend(async || {
        let dir = Dir::new();
        let pipe = std::process::Command::new("mkfifo")
            .arg(dir.at("pipe"))
            .status();
        assert!(pipe.unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(dir.at("socket")).unwrap();
        let files = Files::new(dir.path()).await.unwrap();
        assert_eq!(get(&files, "/pipe").await.status, StatusCode::FORBIDDEN);
        assert_eq!(get(&files, "/socket").await.status, StatusCode::FORBIDDEN);
    });
}

#[test]
fn names_that_are_not_utf_8_are_listed_and_served() {
    on_each_backend(async || {
        let dir = Dir::new();
        let name = std::ffi::OsStr::from_bytes(b"\xff<b>");
        fs::write(dir.path().join(name), "raw").unwrap();
        let files = Files::new(dir.path()).await.unwrap();
        let list = get(&files, "/").await;
        assert!(list.text().contains("href=\"%FF%3Cb%3E\""));
        assert!(!list.text().contains("<b>"));
        assert_eq!(get(&files, "/%FF%3Cb%3E").await.text(), "raw");
    });
}

#[test]
fn file_that_may_not_be_read_is_forbidden() {
    on_each_backend(async || {
        let dir = Dir::new();
        dir.write("locked", "x");
        fs::set_permissions(dir.at("locked"), fs::Permissions::from_mode(0o000)).unwrap();
        if fs::File::open(dir.at("locked")).is_ok() {
            eprintln!("not run: the user of this test may read everything");
            return;
        }
        let files = Files::new(dir.path()).await.unwrap();
        assert_eq!(get(&files, "/locked").await.status, StatusCode::FORBIDDEN);
    });
}

#[test]
fn links_that_lead_nowhere_are_listed_and_not_found() {
    on_each_backend(async || {
        let dir = Dir::new();
        symlink("nowhere", dir.at("dangling")).unwrap();
        symlink("circle", dir.at("circle")).unwrap();
        let files = Files::new(dir.path()).await.unwrap();
        assert!(get(&files, "/").await.text().contains("dangling"));
        for uri in ["/dangling", "/circle"] {
            assert_eq!(
                get(&files, uri).await.status,
                StatusCode::NOT_FOUND,
                "{uri}"
            );
        }
    });
}
