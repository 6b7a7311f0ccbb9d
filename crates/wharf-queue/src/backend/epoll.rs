//! Skeleton.

use std::io;

use super::{Backend, BackendKind, BackendReport, Config, Sleep};
use crate::bufpool::PoolCore;
use crate::ledger::Ledger;
use crate::notify::Wake;
use crate::op::{OpKind, Support, Target};
use crate::sys;
use crate::time::Moment;

pub(crate) struct Epoll;

pub(super) fn probe() -> BackendReport {
    BackendReport {
        kind: BackendKind::ALL[0],
        available: false,
        reason: String::new(),
        features: Default::default(),
    }
}

impl Epoll {
    pub(super) fn new(_: Config) -> io::Result<Epoll> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Backend for Epoll {
    fn support(&self, _: OpKind) -> Support {
        unreachable!()
    }
    fn submit(&mut self, _: &Ledger, _: u32) {}
    fn submit_chain(&mut self, _: &Ledger, _: &[u32]) -> bool {
        false
    }
    fn cancel(&mut self, _: &Ledger, _: u32) {}
    fn wait(&mut self, _: &Ledger, _: Sleep) -> io::Result<()> {
        Ok(())
    }
    fn waker(&mut self) -> io::Result<Box<dyn Wake>> {
        unreachable!()
    }
    fn forget(&mut self, _: &Ledger, _: Target) {}
    fn register_pool(&mut self, _: &Ledger, _: &PoolCore, _: u32) -> io::Result<()> {
        Ok(())
    }
    fn unregister_pool(&mut self, _: &Ledger, _: &PoolCore, _: u32) {}
    fn control(&mut self, _: Option<Target>, _: sys::Control) -> io::Result<sys::Reply> {
        unreachable!()
    }
    fn close(&mut self, _: sys::RawHandle) {}
    fn now(&self) -> Moment {
        unreachable!()
    }
    fn random(&mut self) -> u64 {
        0
    }
    fn arm(&mut self, _: &Ledger, _: Option<Moment>) -> io::Result<sys::RawHandle> {
        unreachable!()
    }
}
