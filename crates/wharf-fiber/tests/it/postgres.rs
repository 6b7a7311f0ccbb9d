//! The synchronous style of database clients: version 3.0 of PostgreSQL's protocol over anything that
//! reads and writes, run unchanged on the streams of fibers.
//!
//! The client and the server know `std::io` alone. What the messages look like is in chapter "Frontend/
//! Backend Protocol" of PostgreSQL's documentation.

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::time::Duration;

use wharf_fiber as fiber;
use wharf_fiber::net::{TcpListener, TcpStream};

use crate::on_each_backend;

/// The parts of messages, written.
mod put {
    pub(super) fn text(message: &mut Vec<u8>, text: &str) {
        message.extend_from_slice(text.as_bytes());
        message.push(0);
    }

    pub(super) fn short(message: &mut Vec<u8>, number: usize) {
        message.extend_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
    }

    pub(super) fn long(message: &mut Vec<u8>, number: i32) {
        message.extend_from_slice(&number.to_be_bytes());
    }
}

/// The parts of a message, taken from its front.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn bytes(&mut self, len: usize) -> io::Result<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(front)
    }

    fn short(&mut self) -> io::Result<u16> {
        Ok(u16::from_be_bytes(self.bytes(2)?.try_into().unwrap()))
    }

    fn long(&mut self) -> io::Result<i32> {
        Ok(i32::from_be_bytes(self.bytes(4)?.try_into().unwrap()))
    }

    fn text(&mut self) -> io::Result<String> {
        let len = self.0.iter().position(|byte| *byte == 0);
        let text = self.bytes(len.ok_or_else(malformed)?)?;
        self.bytes(1)?;
        String::from_utf8(text.to_vec()).map_err(io::Error::other)
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed message")
}

/// One side of a connection.
struct Wire<R: Read, W: Write> {
    reader: BufReader<R>,
    writer: BufWriter<W>,
}

impl<R: Read, W: Write> Wire<R, W> {
    fn new(reader: R, writer: W) -> Wire<R, W> {
        Wire {
            reader: BufReader::new(reader),
            writer: BufWriter::new(writer),
        }
    }

    /// Writes a message; the first one of a client has no tag.
    fn send(&mut self, tag: Option<u8>, body: &[u8]) -> io::Result<()> {
        if let Some(tag) = tag {
            self.writer.write_all(&[tag])?;
        }
        let len = u32::try_from(body.len() + 4).map_err(io::Error::other)?;
        self.writer.write_all(&len.to_be_bytes())?;
        self.writer.write_all(body)
    }

    fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut len = [0; 4];
        self.reader.read_exact(&mut len)?;
        let len = u32::from_be_bytes(len)
            .checked_sub(4)
            .ok_or_else(malformed)?;
        let mut body = vec![0; len as usize];
        self.reader.read_exact(&mut body)?;
        Ok(body)
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut tag = [0];
        self.reader.read_exact(&mut tag)?;
        Ok((tag[0], self.body()?))
    }
}

/// What a query gave: names of columns, rows, and the tag of the command.
#[derive(Default)]
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Option<Vec<u8>>>>,
    command: String,
}

struct Client<R: Read, W: Write> {
    wire: Wire<R, W>,
    parameters: BTreeMap<String, String>,
}

impl<R: Read, W: Write> Client<R, W> {
    fn connect(reader: R, writer: W, user: &str) -> io::Result<Client<R, W>> {
        let mut wire = Wire::new(reader, writer);
        let mut startup = Vec::new();
        put::long(&mut startup, 3 << 16);
        for text in ["user", user, "database", "postgres", ""] {
            put::text(&mut startup, text);
        }
        wire.send(None, &startup)?;
        wire.writer.flush()?;
        let mut parameters = BTreeMap::new();
        loop {
            let (tag, body) = wire.receive()?;
            let mut parts = Parts(&body);
            match tag {
                b'R' if parts.long()? == 0 => {}
                b'R' => return Err(io::ErrorKind::PermissionDenied.into()),
                b'S' => drop(parameters.insert(parts.text()?, parts.text()?)),
                b'Z' => return Ok(Client { wire, parameters }),
                b'E' => return Err(error_of(parts)?),
                _ => {}
            }
        }
    }

    /// A simple query: text there, text back.
    fn query(&mut self, text: &str) -> io::Result<Table> {
        let mut query = Vec::new();
        put::text(&mut query, text);
        self.wire.send(Some(b'Q'), &query)?;
        self.wire.writer.flush()?;
        let (mut table, mut failed) = (Table::default(), None);
        loop {
            let (tag, body) = self.wire.receive()?;
            let mut parts = Parts(&body);
            match tag {
                b'T' => {
                    for _ in 0..parts.short()? {
                        table.columns.push(parts.text()?);
                        // Its table, type and format.
                        parts.bytes(18)?;
                    }
                }
                b'D' => {
                    let mut row = Vec::new();
                    for _ in 0..parts.short()? {
                        row.push(match usize::try_from(parts.long()?) {
                            Ok(len) => Some(parts.bytes(len)?.to_vec()),
                            Err(_) => None,
                        });
                    }
                    table.rows.push(row);
                }
                b'C' => table.command = parts.text()?,
                b'E' => failed = Some(error_of(parts)?),
                b'Z' => return failed.map_or(Ok(table), Err),
                _ => {}
            }
        }
    }

    fn close(mut self) -> io::Result<()> {
        self.wire.send(Some(b'X'), &[])?;
        self.wire.writer.flush()
    }
}

fn error_of(mut parts: Parts<'_>) -> io::Result<io::Error> {
    let mut message = String::new();
    loop {
        match parts.bytes(1)?[0] {
            0 => return Ok(io::Error::other(message)),
            b'M' => message = parts.text()?,
            _ => drop(parts.text()?),
        }
    }
}

/// Serves one connection: `numbers N` has N rows of a number, its bytes and a null; `wait` never answers;
/// anything else is an error.
fn serve<R: Read, W: Write>(reader: R, writer: W) -> io::Result<usize> {
    let mut wire = Wire::new(reader, writer);
    let startup = wire.body()?;
    let mut parts = Parts(&startup);
    assert_eq!((parts.long()?, parts.text()?.as_str()), (3 << 16, "user"));
    wire.send(Some(b'R'), &[0; 4])?;
    let mut version = Vec::new();
    put::text(&mut version, "server_version");
    put::text(&mut version, "0.0 (a fiber)");
    wire.send(Some(b'S'), &version)?;
    let mut queries = 0;
    loop {
        wire.send(Some(b'Z'), b"I")?;
        wire.writer.flush()?;
        let (tag, body) = wire.receive()?;
        if tag == b'X' {
            return Ok(queries);
        }
        queries += 1;
        let text = Parts(&body).text()?;
        match text.split_once(' ') {
            Some(("numbers", count)) => answer(&mut wire, count.parse().unwrap())?,
            _ if text == "wait" => drop(fiber::try_wait(std::future::pending::<()>())?),
            _ => {
                let mut error = Vec::new();
                for (field, value) in [(b'S', "ERROR"), (b'C', "42601"), (b'M', "no such query")] {
                    error.push(field);
                    put::text(&mut error, value);
                }
                error.push(0);
                wire.send(Some(b'E'), &error)?;
            }
        }
    }
}

fn answer<R: Read, W: Write>(wire: &mut Wire<R, W>, count: usize) -> io::Result<()> {
    let columns = ["number", "bytes", "nothing"];
    let mut description = Vec::new();
    put::short(&mut description, columns.len());
    for name in columns {
        put::text(&mut description, name);
        // No table; type text, of any length; as text.
        description.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 255, 255]);
        description.extend_from_slice(&[255, 255, 255, 255, 0, 0]);
    }
    wire.send(Some(b'T'), &description)?;
    for number in 0..count {
        let mut row = Vec::new();
        put::short(&mut row, columns.len());
        for value in [number.to_string(), "#".repeat(number)] {
            put::long(&mut row, i32::try_from(value.len()).unwrap());
            row.extend_from_slice(value.as_bytes());
        }
        put::long(&mut row, -1);
        wire.send(Some(b'D'), &row)?;
    }
    let mut command = Vec::new();
    put::text(&mut command, &format!("SELECT {count}"));
    wire.send(Some(b'C'), &command)
}

/// Listens, and serves one connection in a fiber of its own.
fn server() -> (std::net::SocketAddr, fiber::JoinHandle<io::Result<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = fiber::spawn(move || {
        let (stream, _) = listener.accept()?;
        serve(stream.try_clone()?, stream)
    });
    (address, served)
}

#[test]
fn client_of_a_database_queries_as_it_would_over_blocking_sockets() {
    on_each_backend(|| {
        let (address, served) = server();
        let stream = TcpStream::connect(address).unwrap();
        let mut client = Client::connect(stream.try_clone().unwrap(), stream, "wharf").unwrap();
        assert_eq!(client.parameters["server_version"], "0.0 (a fiber)");
        // The last has more than a megabyte of answers.
        for count in [0, 1, 10, 1500] {
            let table = client.query(&format!("numbers {count}")).unwrap();
            assert_eq!(table.columns, ["number", "bytes", "nothing"]);
            assert_eq!(table.command, format!("SELECT {count}"));
            assert_eq!(table.rows.len(), count);
            for (number, row) in table.rows.iter().enumerate() {
                assert_eq!(row[0].as_deref(), Some(number.to_string().as_bytes()));
                assert_eq!(row[1].as_deref(), Some("#".repeat(number).as_bytes()));
                assert_eq!(row[2], None);
            }
        }
        let error = client.query("select 1").map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "no such query");
        // The connection goes on after an error.
        assert_eq!(client.query("numbers 2").unwrap().rows.len(), 2);
        client.close().unwrap();
        assert_eq!(served.join().unwrap().unwrap(), 6);
    });
}

#[test]
fn client_of_a_database_gives_up_at_its_time_out() {
    on_each_backend(|| {
        let (address, served) = server();
        let stream = TcpStream::connect(address).unwrap();
        let socket = stream.try_clone().unwrap();
        let mut client = Client::connect(stream.try_clone().unwrap(), stream, "wharf").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let error = client.query("wait").map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        served.abort();
        let cancelled = served.join().unwrap().unwrap_err();
        assert!(
            cancelled
                .get_ref()
                .is_some_and(|inner| inner.is::<fiber::Cancelled>())
        );
    });
}
