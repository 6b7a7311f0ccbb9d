//! What the tour needs before it can begin: an open file, and connections with both of their ends.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use wharf_queue::op::{FileType, Metadata};
use wharf_queue::{Address, Handle, Operation, Prepare, Queue, op};

use super::record::{Lane, Recorder};
use super::transfer::{CONNECTIONS, Connection, PATIENCE};
use crate::context;

/// Runs one operation to its end.
fn run<O: Operation>(
    queue: &Queue,
    recorder: &mut Recorder,
    what: &str,
    operation: O,
) -> io::Result<O::Output> {
    let number = recorder.submit(queue, Lane::Prepare(0), what.to_owned());
    let token = queue.submit(operation.user_data(number))?;
    loop {
        let before = queue.now();
        let batch = queue.wait(PATIENCE)?;
        let now = queue.now();
        recorder.waited(before, now);
        if batch.is_empty() {
            let message = format!("{what} has not completed for {PATIENCE:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        for completion in batch {
            if let Ok(output) = completion.take(token) {
                recorder.complete(number, now, "");
                return Ok(output);
            }
        }
    }
}

/// Opens a regular file and finds out how long it is.
pub(super) fn open(
    queue: &Queue,
    recorder: &mut Recorder,
    path: &Path,
) -> io::Result<(Handle, Metadata)> {
    let cannot = || format!("cannot read {}", path.display());
    // Before it is opened: opening a FIFO would wait for somebody to write to it.
    let stat = run(
        queue,
        recorder,
        "ask what the file is",
        op::Stat::path(path),
    )?;
    let metadata = stat.into_result().map_err(context(cannot()))?;
    let what = match metadata.file_type {
        FileType::File => "",
        FileType::Dir => "a directory",
        _ => "a pipe, a socket or a device",
    };
    if !what.is_empty() {
        let message = format!("{}: it is {what}; give a regular file", cannot());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let open = run(
        queue,
        recorder,
        "open the file",
        op::Open::new(path).read(true),
    )?;
    let file = open.into_result().map_err(context(cannot()))?;
    Ok((file, metadata))
}

/// Makes the connections: each connect and each accept is in flight at the same time.
pub(super) fn connect(
    queue: &Queue,
    recorder: &mut Recorder,
) -> io::Result<(Vec<Connection>, Address)> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = queue
        .listen(any)
        .map_err(context("cannot listen on loopback"))?;
    let address = listener.local_addr()?;
    let mut connects = Vec::new();
    for at in 0..CONNECTIONS {
        let sender = queue.socket(&op::Socket::stream_for(&address))?;
        let number = recorder.submit(queue, Lane::Prepare(2 * at), "connect".to_owned());
        let connect = op::Connect::new(&sender, address.clone());
        queue.submit(connect.user_data(number))?;
        accept(queue, recorder, &listener, Lane::Prepare(2 * at + 1))?;
        connects.push(sender);
    }
    let (mut connected, mut accepted) = (0, Vec::new());
    while connected < CONNECTIONS || accepted.len() < CONNECTIONS {
        let before = queue.now();
        let batch = queue.wait(PATIENCE)?;
        let now = queue.now();
        recorder.waited(before, now);
        if batch.is_empty() {
            let message = format!("no connection over loopback for {PATIENCE:?}; is it filtered?");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        for completion in batch {
            let number = completion.user_data();
            let lane = recorder
                .complete(number, now, "")
                .unwrap_or(Lane::Prepare(0));
            match completion.take_as::<op::Connect>() {
                Ok(outcome) => {
                    outcome.into_result().map_err(context("cannot connect"))?;
                    connected += 1;
                }
                Err(completion) => {
                    let Ok(outcome) = completion.take_as::<op::Accept>() else {
                        continue;
                    };
                    let receiver = outcome.into_result().map_err(context("cannot accept"))?;
                    // Anybody on this machine may connect; only our own are served.
                    let peer = receiver.peer_addr().ok();
                    match peer.filter(|peer| is_ours(peer, &connects)) {
                        Some(peer) => accepted.push((peer, receiver)),
                        None => accept(queue, recorder, &listener, lane)?,
                    }
                }
            }
        }
    }
    let mut connections = Vec::new();
    for sender in connects {
        let local = sender.local_addr()?;
        let at = accepted.iter().position(|(peer, _)| *peer == local);
        let at = at.ok_or_else(|| io::Error::other("a connection has lost its other end"))?;
        connections.push(Connection::new(sender, accepted.swap_remove(at).1));
    }
    Ok((connections, address))
}

fn accept(queue: &Queue, recorder: &mut Recorder, listener: &Handle, lane: Lane) -> io::Result<()> {
    let number = recorder.submit(queue, lane, "accept".to_owned());
    queue.submit(op::Accept::new(listener).user_data(number))?;
    Ok(())
}

fn is_ours(peer: &Address, senders: &[Handle]) -> bool {
    senders
        .iter()
        .any(|sender| sender.local_addr().is_ok_and(|local| local == *peer))
}
