//! The simulated disk: keeps what the running system sees apart from what the device holds, and
//! can stop at
//! any operation, lose power, fail syncs, run full, and decay. Deterministic: every choice comes
//! from a seed.
//!
//! Directory operations reach the device in the order they were made (as a journal does); file
//! bytes in
//! order, or scattered, as the [`PowerCut`] says.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, DiskFile, LockError};

/// Bytes that reach a device whole or not at all.
const SECTOR: usize = 512;

/// A simulated disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct DiskMem {
    world: Arc<Mutex<World>>,
}

/// What a power cut leaves of the bytes and names that had not been synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCut {
    /// Nothing.
    Forget,
    /// What came first, up to some operation; a write there may be torn at any byte.
    Prefix {
        /// Decides where.
        seed: u64,
    },
    /// Any sectors of any writes; names as in `Prefix`.
    Scatter {
        /// Decides which.
        seed: u64,
    },
}

/// An open file of a [`DiskMem`].
#[derive(Debug)]
pub struct MemFile {
    world: Arc<Mutex<World>>,
    inode: usize,
    boot: u64,
}

/// The lock of a [`DiskMem`].
#[derive(Debug)]
pub struct MemLock {
    world: Arc<Mutex<World>>,
    boot: u64,
}

#[derive(Debug, Default)]
struct World {
    inodes: Vec<Inode>,
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// What has not been synced, in order.
    pending: Vec<Change>,
    /// Counts restarts; files opened before one are dead.
    boot: u64,
    locked: bool,
    operations: u64,
    stop_at: Option<(u64, usize)>,
    stopped: bool,
    failing_syncs: bool,
    capacity: Option<u64>,
    read_only: bool,
    written: u64,
}

#[derive(Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    handles: usize,
}

#[derive(Debug)]
enum Change {
    Write { inode: usize, offset: usize, bytes: Vec<u8> },
    Truncate { inode: usize, size: usize },
    Link { name: String, inode: usize },
    Rename { from: String, to: String },
    Unlink { name: String },
}

impl DiskMem {
    /// An empty disk without faults.
    pub fn new() -> DiskMem {
        DiskMem::default()
    }

    /// Operations that change something or sync, made so far.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.world().written
    }

    /// Stops the machine at operation number `operation` (the first is 0): a write there leaves
    /// its first `torn`
    /// bytes, anything else does not happen, and everything later fails until a restart.
    pub fn stop_at(&self, operation: u64, torn: usize) {
        self.world().stop_at = Some((operation, torn));
    }

    /// True when the machine has stopped.
    pub fn is_stopped(&self) -> bool {
        self.world().stopped
    }

    /// The process dies and the system goes on: nothing written is lost, locks are free, open
    /// files are dead.
    pub fn restart_process(&self) {
        let mut world = self.world();
        world.boot += 1;
        world.locked = false;
        world.stopped = false;
        world.stop_at = None;
    }

    /// Power fails and comes back.
    pub fn restart_machine(&self, cut: PowerCut) {
        let mut world = self.world();
        let pending = std::mem::take(&mut world.pending);
        match cut {
            PowerCut::Forget => {}
            PowerCut::Prefix { seed } => world.keep_prefix(pending, &mut Random(seed)),
            PowerCut::Scatter { seed } => world.keep_scattered(pending, &mut Random(seed)),
        }
        world.live = world.durable.clone();
        for inode in &mut world.inodes {
            inode.live = inode.durable.clone();
        }
        drop(world);
        self.restart_process();
    }

    /// Lets every sync from now on fail (and drop what it should have kept, as Linux does), or
    /// succeed.
    pub fn fail_syncs(&self, failing: bool) {
        self.world().failing_syncs = failing;
    }

    /// Sets how many bytes all files may hold together.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world().capacity = bytes;
    }

    /// Makes the file system read-only, or writable again.
    pub fn set_read_only(&self, read_only: bool) {
        self.world().read_only = read_only;
    }

    /// Names of all files.
    pub fn names(&self) -> Vec<String> {
        self.world().live.keys().cloned().collect()
    }

    /// The bytes of a file, empty if there is none.
    pub fn content(&self, name: &str) -> Vec<u8> {
        let world = self.world();
        world.live.get(name).map_or(Vec::new(), |inode| world.inodes[*inode].live.clone())
    }

    /// Replaces the bytes of a file (or makes it), on the device too.
    pub fn set_content(&self, name: &str, bytes: Vec<u8>) {
        let mut world = self.world();
        let inode = match world.live.get(name) {
            Some(inode) => *inode,
            None => {
                world.inodes.push(Inode::default());
                world.inodes.len() - 1
            }
        };
        world.live.insert(name.to_owned(), inode);
        world.durable.insert(name.to_owned(), inode);
        world.inodes[inode].durable.clone_from(&bytes);
        world.inodes[inode].live = bytes;
    }

    /// A disk of its own with the files as they are now, everything synced, without faults.
    pub fn copy(&self) -> DiskMem {
        let copy = DiskMem::new();
        for name in self.names() {
            copy.set_content(&name, self.content(&name));
        }
        copy
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    fn file(&self, world: &mut World, inode: usize) -> MemFile {
        world.inodes[inode].handles += 1;
        MemFile { world: Arc::clone(&self.world), inode, boot: world.boot }
    }
}

impl World {
    /// Counts an operation and tells whether it happens.
    fn operate(&mut self) -> io::Result<()> {
        self.running()?;
        let number = self.operations;
        self.operations += 1;
        if self.stop_at.is_some_and(|(at, _)| at == number) {
            self.stopped = true;
        }
        self.running()
    }

    fn running(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }

    fn change(&mut self) -> io::Result<()> {
        if self.read_only { Err(ErrorKind::ReadOnlyFilesystem.into()) } else { self.operate() }
    }

    fn used(&self) -> u64 {
        self.live.values().map(|inode| self.inodes[*inode].live.len() as u64).sum()
    }

    fn write(&mut self, inode: usize, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let stopped = self.change();
        let mut part = bytes;
        let mut result = Ok(());
        if let Err(error) = stopped {
            let torn = match self.stop_at.take() {
                Some((_, torn)) if self.stopped => torn,
                _ => return Err(error),
            };
            part = &bytes[..torn.min(bytes.len())];
            result = Err(error);
        }
        if let Some(capacity) = self.capacity {
            let size = self.inodes[inode].live.len() as u64;
            let limit = (size + capacity.saturating_sub(self.used())) as usize;
            if offset + part.len() > limit {
                part = &part[..limit.saturating_sub(offset)];
                result = Err(ErrorKind::StorageFull.into());
            }
        }
        self.written += part.len() as u64;
        apply(&mut self.inodes[inode].live, offset, part);
        self.pending.push(Change::Write { inode, offset, bytes: part.to_vec() });
        result
    }

    fn sync(&mut self, inode: usize) -> io::Result<()> {
        self.operate()?;
        self.pending.retain(|change| {
            !matches!(change, Change::Write { inode: i, .. } | Change::Truncate { inode: i, .. }
                if *i == inode)
        });
        if self.failing_syncs {
            return Err(io::Error::other("the device failed"));
        }
        self.inodes[inode].durable = self.inodes[inode].live.clone();
        Ok(())
    }

    /// Frees the bytes of files without a name that nobody has open.
    fn reap(&mut self, inode: usize) {
        let named = |names: &BTreeMap<String, usize>| names.values().any(|i| *i == inode);
        let pending = self
            .pending
            .iter()
            .any(|change| matches!(change, Change::Link { inode: i, .. } if *i == inode));
        let gone = self.inodes[inode].handles == 0;
        if gone && !pending && !named(&self.live) && !named(&self.durable) {
            self.inodes[inode] = Inode::default();
            self.pending.retain(|change| {
                !matches!(change, Change::Write { inode: i, .. } | Change::Truncate { inode: i, .. }
                    if *i == inode)
            });
        }
    }

    fn keep_prefix(&mut self, pending: Vec<Change>, random: &mut Random) {
        let kept = random.below(pending.len() + 1);
        let torn = pending.get(kept).and_then(|change| match change {
            Change::Write { inode, offset, bytes } => {
                let bytes = bytes[..random.below(bytes.len() + 1)].to_vec();
                Some(Change::Write { inode: *inode, offset: *offset, bytes })
            }
            _ => None,
        });
        for change in pending.into_iter().take(kept).chain(torn) {
            self.settle(change);
        }
    }

    fn keep_scattered(&mut self, pending: Vec<Change>, random: &mut Random) {
        let is_name = |change: &Change| {
            matches!(change, Change::Link { .. } | Change::Rename { .. } | Change::Unlink { .. })
        };
        let names = pending.iter().filter(|change| is_name(change)).count();
        let mut kept_names = random.below(names + 1);
        for change in pending {
            match change {
                Change::Write { inode, offset, bytes } => {
                    let mut at = 0;
                    while at < bytes.len() {
                        let end =
                            ((offset + at) / SECTOR * SECTOR + SECTOR - offset).min(bytes.len());
                        if random.below(4) > 0 {
                            let bytes = bytes[at..end].to_vec();
                            self.settle(Change::Write { inode, offset: offset + at, bytes });
                        }
                        at = end;
                    }
                }
                Change::Truncate { .. } if random.below(2) == 0 => {}
                change if is_name(&change) => {
                    if kept_names > 0 {
                        kept_names -= 1;
                        self.settle(change);
                    }
                }
                change => self.settle(change),
            }
        }
    }

    /// Makes a change on the device.
    fn settle(&mut self, change: Change) {
        match change {
            Change::Write { inode, offset, bytes } => {
                apply(&mut self.inodes[inode].durable, offset, &bytes);
            }
            Change::Truncate { inode, size } => self.inodes[inode].durable.truncate(size),
            Change::Link { name, inode } => {
                self.durable.insert(name, inode);
            }
            Change::Rename { from, to } => {
                if let Some(inode) = self.durable.remove(&from) {
                    self.durable.insert(to, inode);
                }
            }
            Change::Unlink { name } => {
                self.durable.remove(&name);
            }
        }
    }
}

impl Disk for DiskMem {
    type File = MemFile;
    type Lock = MemLock;

    fn lock(&self) -> Result<MemLock, LockError> {
        let mut world = self.world();
        world.running().map_err(LockError::Io)?;
        if world.locked {
            return Err(LockError::Held { holder: "another store of this process".into() });
        }
        world.locked = true;
        Ok(MemLock { world: Arc::clone(&self.world), boot: world.boot })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.world().running()?;
        Ok(self.names())
    }

    fn create(&self, name: &str) -> io::Result<MemFile> {
        let mut world = self.world();
        world.change()?;
        let inode = match world.live.get(name).copied() {
            Some(inode) => {
                world.inodes[inode].live.clear();
                world.pending.push(Change::Truncate { inode, size: 0 });
                inode
            }
            None => {
                world.inodes.push(Inode::default());
                let inode = world.inodes.len() - 1;
                world.live.insert(name.to_owned(), inode);
                world.pending.push(Change::Link { name: name.to_owned(), inode });
                inode
            }
        };
        Ok(self.file(&mut world, inode))
    }

    fn open(&self, name: &str) -> io::Result<MemFile> {
        let mut world = self.world();
        world.running()?;
        let inode = world.live.get(name).copied().ok_or(ErrorKind::NotFound)?;
        Ok(self.file(&mut world, inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        world.change()?;
        let inode = world.live.remove(from).ok_or(ErrorKind::NotFound)?;
        world.live.insert(to.to_owned(), inode);
        world.pending.push(Change::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        if !world.live.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        world.change()?;
        let inode = world.live.remove(name).ok_or(ErrorKind::NotFound)?;
        world.pending.push(Change::Unlink { name: name.to_owned() });
        world.reap(inode);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut world = self.world();
        world.operate()?;
        if world.failing_syncs {
            return Err(io::Error::other("the device failed"));
        }
        let is_bytes =
            |change: &Change| matches!(change, Change::Write { .. } | Change::Truncate { .. });
        world.pending.retain(is_bytes);
        let before = std::mem::take(&mut world.durable);
        world.durable = world.live.clone();
        for inode in before.into_values() {
            world.reap(inode);
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let world = self.world();
        world.running()?;
        Ok(world.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(world.used())))
    }
}

impl MemFile {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = lock(&self.world);
        if world.boot != self.boot {
            return Err(io::Error::other("opened before the restart"));
        }
        world.running()?;
        Ok(world)
    }
}

impl DiskFile for MemFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.world()?.inodes[self.inode].live.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let world = self.world()?;
        let live = &world.inodes[self.inode].live;
        let from = live.get(offset as usize..).unwrap_or(&[]);
        let read = from.len().min(buf.len());
        buf[..read].copy_from_slice(&from[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.world()?.write(self.inode, offset as usize, bytes)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        let mut world = self.world()?;
        world.change()?;
        world.inodes[self.inode].live.truncate(size as usize);
        world.pending.push(Change::Truncate { inode: self.inode, size: size as usize });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.world()?.sync(self.inode)
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        let mut world = lock(&self.world);
        world.inodes[self.inode].handles -= 1;
        world.reap(self.inode);
    }
}

impl Drop for MemLock {
    fn drop(&mut self) {
        let mut world = lock(&self.world);
        if world.boot == self.boot {
            world.locked = false;
        }
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn apply(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

/// A small generator (splitmix64), so that a seed is all there is to a run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_synced_outlives_a_power_cut() {
        let disk = DiskMem::new();
        let file = disk.create("a").unwrap();
        file.write_at(0, b"one").unwrap();
        file.sync_data().unwrap();
        disk.sync_dir().unwrap();
        file.write_at(3, b"two").unwrap();
        disk.create("b").unwrap().sync_data().unwrap();
        disk.restart_process();
        assert_eq!(disk.content("a"), b"onetwo");
        assert!(file.write_at(0, b"x").is_err(), "a file of before the restart");
        disk.restart_machine(PowerCut::Forget);
        assert_eq!((disk.names(), disk.content("a")), (vec!["a".to_owned()], b"one".to_vec()));
    }

    #[test]
    fn the_machine_stops_where_it_is_told() {
        let disk = DiskMem::new();
        disk.stop_at(1, 2);
        let file = disk.create("a").unwrap();
        assert!(file.write_at(0, b"hello").is_err() && disk.is_stopped());
        assert!(disk.create("b").is_err());
        disk.restart_process();
        assert_eq!(disk.content("a"), b"he");
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_a_failed_sync_drops_bytes() {
        let disk = DiskMem::new();
        disk.set_capacity(Some(4));
        let file = disk.create("a").unwrap();
        assert_eq!(file.write_at(0, b"hello").unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!((disk.content("a"), disk.free_bytes().unwrap()), (b"hell".to_vec(), 0));
        disk.fail_syncs(true);
        assert!(file.sync_data().is_err());
        disk.fail_syncs(false);
        disk.sync_dir().unwrap();
        disk.restart_machine(PowerCut::Prefix { seed: 1 });
        assert_eq!(disk.content("a"), b"");
    }
}
