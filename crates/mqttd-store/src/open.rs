//! Opening: reads the segments in order, decides what damage means, and rebuilds the index.
//! The rules are in `docs/store-format.md`, section Recovery. Opening writes nothing but the lock.

use std::collections::HashMap;

use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;
use crate::frame::{Frame, Kind};
use crate::index::{Index, MAX_OFFSET, Place, Segment};
use crate::report::{Hole, HoleKind, OpenReport, TornTail};
use crate::reserve::{self, Reserve};
use crate::scan::{self, Damaged, Extent, Found};
use crate::segment::{HEADER_BYTES, Header, HeaderError, SegmentId};

/// Consecutive segment numbers that may be missing before the directory is taken for a mixture.
const MAX_MISSING_SEGMENTS: u64 = 1 << 16;

/// What was found in a directory.
pub(crate) struct Recovered {
    pub(crate) index: Index,
    /// Orders of the live records whose frame carries one.
    pub(crate) orders: HashMap<u64, u64>,
    pub(crate) report: OpenReport,
    /// Files that no longer count.
    pub(crate) leftovers: Vec<String>,
    pub(crate) reserve: Reserve,
}

/// A segment file and what its header says.
struct SegmentFile {
    id: SegmentId,
    header: Option<Header>,
}

/// Reads everything. `progress` gets the bytes read and the bytes there are.
pub(crate) fn recover<D: Disk>(
    disk: &D,
    mut progress: impl FnMut(u64, u64),
) -> Result<Recovered, StoreError> {
    let mut files = Files::list(disk)?;
    let mut sizes = Vec::with_capacity(files.segments.len());
    for file in &files.segments {
        let open = disk.open(&file.id.file_name()).map_err(StoreError::io("opening"))?;
        sizes.push(open.size().map_err(StoreError::io("reading a length"))?);
    }
    let total = sizes.iter().sum();
    let mut recovery = Recovery::new(&files.segments)?;
    let (mut done, mut buf) = (0, Vec::new());
    for (at, file) in files.segments.iter().enumerate() {
        let open = disk.open(&file.id.file_name()).map_err(StoreError::io("opening"))?;
        let next = files.segments.get(at + 1).filter(|next| next.id.number == file.id.number + 1);
        let limit = next.and_then(|next| next.header).map(|header| header.previous_end);
        let wanted = limit.map_or(sizes[at], |limit| limit.min(sizes[at])).min(MAX_OFFSET);
        buf.resize(wanted as usize, 0);
        let read = open.read_at(0, &mut buf).map_err(StoreError::io("reading"))?;
        buf.truncate(read);
        recovery.segment(file, limit, &buf);
        done += sizes[at];
        progress(done, total);
    }
    recovery.finish();
    recovery.fill_up_to(files.highest, MAX_MISSING_SEGMENTS)?;
    let head = recovery.head;
    let old = files.segments.iter().filter(|file| file.id.number < head);
    files.leftovers.extend(old.map(|file| file.id.file_name()));
    for (file, says) in files.misnamed {
        // A dead segment's file, renamed for reuse and not begun, or begun and still under its old
        // name;
        // anything else is left alone.
        let old = SegmentId::from_file_name(&file).is_some_and(|named| named.number < head);
        if old || says.number < head {
            files.leftovers.push(file);
        } else {
            let kind = HoleKind::Misnamed { says: says.number };
            recovery.report.holes.push(Hole { file, offset: 0, bytes: 0, kind });
        }
    }
    Ok(Recovered {
        index: recovery.index,
        orders: recovery.orders,
        report: recovery.report,
        leftovers: files.leftovers,
        reserve: files.reserve,
    })
}

#[derive(Default)]
struct Files {
    segments: Vec<SegmentFile>,
    leftovers: Vec<String>,
    /// Files whose header names another segment than their name.
    misnamed: Vec<(String, SegmentId)>,
    /// The highest number in any segment file's name. None is ever used again.
    highest: u64,
    reserve: Reserve,
}

impl Files {
    fn list<D: Disk>(disk: &D) -> Result<Files, StoreError> {
        let mut files = Files::default();
        for name in disk.list().map_err(StoreError::io("listing the directory"))? {
            if let Some(id) = SegmentId::from_file_name(&name) {
                files.highest = files.highest.max(id.number);
                match read_header(disk, &name)? {
                    Ok(header) if header.id != id => files.misnamed.push((name, header.id)),
                    header => files.segments.push(SegmentFile { id, header: header.ok() }),
                }
            } else if name.starts_with("free-") {
                // Not reused: its bytes may be those of a segment whose name did not reach the
                // device, and
                // that number will be given again.
                files.leftovers.push(name);
            } else if name == reserve::NAME {
                files.reserve = reserve::inspect(disk)?;
            }
        }
        files.segments.sort_by_key(|file| file.id);
        let heads = files.segments.iter().filter_map(|file| file.header).map(|header| header.head);
        let head = heads.max().unwrap_or(0);
        let count = files.segments.partition_point(|file| file.id.number < head);
        let old = files.segments.drain(..count);
        files.leftovers.extend(old.map(|file| file.id.file_name()));
        for pair in files.segments.windows(2) {
            let missing = pair[1].id.number - pair[0].id.number;
            let same_store = pair[1].id.salt == pair[0].id.salt;
            if !same_store || missing == 0 || missing > MAX_MISSING_SEGMENTS {
                return Err(StoreError::Mixed { file: pair[1].id.file_name() });
            }
        }
        Ok(files)
    }
}

fn read_header<D: Disk>(disk: &D, name: &str) -> Result<Result<Header, HeaderError>, StoreError> {
    let file = disk.open(name).map_err(StoreError::io("opening"))?;
    let mut bytes = [0; HEADER_BYTES];
    let read = file.read_at(0, &mut bytes).map_err(StoreError::io("reading"))?;
    match Header::decode(&bytes[..read]) {
        Err(HeaderError::Newer(version)) => {
            Err(StoreError::NewerFormat { file: name.to_owned(), version })
        }
        header => Ok(header),
    }
}

/// A damaged stretch whose meaning depends on the next batch.
struct Undecided {
    number: u64,
    /// The successor's header says that the log reached beyond it.
    exact: bool,
    file: String,
    batch: Option<(u64, u32, u64)>,
    offset: u64,
    end: u64,
    changes: Vec<Change>,
    holes: Vec<(u64, u64)>,
}

enum Change {
    Put { id: u64, place: Place, bytes: usize, order: Option<u64> },
    Kill(u64),
}

struct Recovery {
    index: Index,
    orders: HashMap<u64, u64>,
    report: OpenReport,
    /// The lowest segment that counts.
    head: u64,
    /// Sequence number of the last batch; `None` before the first.
    last: Option<u64>,
    /// First sequence number according to the first segment's header.
    first: Option<u64>,
    undecided: Vec<Undecided>,
    /// The segment the last batch was in.
    last_segment: Option<u64>,
    /// The highest head any batch declared, trusted or not.
    declared_head: u64,
    /// For each hole of the report, the segment it takes records from; `None` when it takes none.
    hole_segments: Vec<Option<u64>>,
    /// A segment whose header and first batch do not verify.
    headless: Option<(u64, TornTail)>,
}

impl Recovery {
    fn new(files: &[SegmentFile]) -> Result<Recovery, StoreError> {
        let mut index = Index::default();
        for file in files {
            let mut number = index.segments.back().map_or(file.id.number, |s| s.id.number + 1);
            while number <= file.id.number {
                let (id, present) = (SegmentId { number, ..file.id }, number == file.id.number);
                index.segments.push_back(Segment { id, end: 0, live: 0, live_bytes: 0, present });
                number += 1;
            }
        }
        Ok(Recovery {
            index,
            orders: HashMap::new(),
            report: OpenReport::default(),
            head: files.iter().filter_map(|file| file.header).map(|h| h.head).max().unwrap_or(0),
            last: None,
            first: files.first().and_then(|file| file.header).map(|header| header.first_seq),
            undecided: Vec::new(),
            last_segment: None,
            declared_head: 0,
            hole_segments: Vec::new(),
            headless: None,
        })
    }

    fn segment(&mut self, file: &SegmentFile, limit: Option<u64>, buf: &[u8]) {
        if limit == Some(0) {
            return; // Begun in vain: its successor says that it holds nothing.
        }
        let number = file.id.number;
        let name = file.id.file_name();
        let reused = file.header.is_none_or(|header| header.reused);
        if let Some(header) = file.header {
            self.reach(number, &name, 0, header.first_seq);
        }
        let extent = Extent { seed: file.id.seed(), exact: limit.is_some(), reused };
        let mut batches = 0u64;
        let end = scan::scan(buf, extent, |found| match found {
            Found::Batch { head, frames } => {
                let offset = frames.first().map_or(0, |(offset, _)| *offset);
                self.batch(number, &name, offset, head.seq, frames);
                self.declare_head(head.head);
                batches += 1;
            }
            Found::Damaged(damaged) => {
                self.undecided.push(undecided(number, extent.exact, &name, damaged));
            }
        });
        if let Some(limit) = limit.filter(|limit| end < *limit) {
            let (file, kind) = (name.clone(), HoleKind::Batches { kept: 0 });
            self.hole(Some(number), Hole { file, offset: end, bytes: limit - end, kind });
        }
        if file.header.is_none() && batches == 0 && limit.is_none() {
            let bytes = buf.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
            self.headless = Some((number, TornTail { file: name.clone(), offset: 0, bytes }));
        }
        if file.header.is_none() && (batches > 0 || limit.is_some()) {
            let (offset, bytes) = (0, HEADER_BYTES as u64);
            self.hole(None, Hole { file: name, offset, bytes, kind: HoleKind::Header });
        }
        self.report.bytes += buf.len() as u64;
        if let Some(segment) = self.index.segment_mut(number) {
            segment.end = limit.unwrap_or(end.max(HEADER_BYTES as u64));
        }
    }

    fn hole(&mut self, segment: Option<u64>, hole: Hole) {
        self.report.holes.push(hole);
        self.hole_segments.push(segment);
    }

    /// A batch says that segments below `head` do not count: what lived there was killed, or
    /// copied to
    /// segments that count. With a hole in those that may be what is lost, and old files are worth
    /// reading.
    fn declare_head(&mut self, head: u64) {
        self.declared_head = self.declared_head.max(head);
        if self.hole_segments.iter().flatten().all(|segment| *segment < head) {
            self.head = self.head.max(head);
        }
    }

    /// The log goes on at `offset` of `file` with batch `seq`: what came before had been written.
    fn reach(&mut self, number: u64, file: &str, offset: u64, seq: u64) {
        self.decide(Some((number, seq)));
        let expected = self.last.map(|last| last + 1).or(self.first);
        let Some(first) = expected.filter(|first| *first < seq) else { return };
        self.last = Some(seq - 1);
        // A hole in this very place already says it.
        if self.report.holes.last().is_none_or(|hole| hole.file != file) {
            let kind = HoleKind::Missing { first, last: seq - 1 };
            let hole = Hole { file: file.to_owned(), offset, bytes: 0, kind };
            self.hole(Some(self.last_segment.unwrap_or(self.index.head())), hole);
        }
    }

    fn batch(
        &mut self,
        number: u64,
        file: &str,
        offset: u64,
        seq: u64,
        frames: &[(u64, Frame<'_>)],
    ) {
        self.reach(number, file, offset, seq);
        if self.last.is_some_and(|last| seq <= last) {
            return;
        }
        self.last = Some(seq);
        self.last_segment = Some(number);
        self.report.batches += 1;
        for (offset, frame) in frames {
            changes(number, *offset, frame, |change| {
                apply(&mut self.index, &mut self.orders, change)
            });
        }
    }

    /// Decides about the damaged stretches read so far, given the segment and number of the next
    /// batch, or
    /// the end of the log.
    fn decide(&mut self, next: Option<(u64, u64)>) {
        for mut stretch in std::mem::take(&mut self.undecided) {
            let own = match (stretch.batch, self.last) {
                (Some((seq, ..)), _) => seq,
                (None, last) => last.map_or(self.first.unwrap_or(1), |last| last + 1),
            };
            let Some((number, next)) = next else {
                self.cut(stretch);
                continue;
            };
            if next <= own {
                continue;
            }
            // The last bytes of a segment may be those of a refused write, unless something says
            // otherwise.
            if !stretch.exact && number != stretch.number {
                stretch.changes.clear();
                stretch.holes = vec![(stretch.offset, stretch.end - stretch.offset)];
                stretch.batch = stretch.batch.map(|(seq, of, _)| (seq, of, 0));
            }
            self.keep(stretch, own);
        }
    }

    fn cut(&mut self, stretch: Undecided) {
        let Undecided { file, mut offset, end, number, .. } = stretch;
        if let Some(torn) = self.report.torn.take().filter(|torn| torn.file == file) {
            offset = torn.offset;
        }
        if let Some(segment) = self.index.segment_mut(number) {
            segment.end = segment.end.min(offset);
        }
        self.report.torn = Some(TornTail { file, offset, bytes: end - offset });
    }

    fn keep(&mut self, stretch: Undecided, own: u64) {
        let kept = stretch.changes.len() as u32;
        for (offset, bytes) in stretch.holes {
            let kind = match stretch.batch {
                Some((batch, of, found)) => {
                    HoleKind::Frames { batch, lost: of.saturating_sub(found as u32), of }
                }
                None => HoleKind::Batches { kept },
            };
            let file = stretch.file.clone();
            self.hole(Some(stretch.number), Hole { file, offset, bytes, kind });
        }
        for change in stretch.changes {
            apply(&mut self.index, &mut self.orders, change);
        }
        self.last = Some(self.last.map_or(own, |last| last.max(own)));
        self.last_segment = Some(stretch.number);
        self.report.batches += 1;
    }

    fn finish(&mut self) {
        self.decide(None);
        self.cut_headless();
        let lowest = self.index.head();
        if lowest < self.head {
            let head = self.head;
            let index = &self.index;
            let gone = index.iter().filter(|(_, place)| index.segment_of(*place) < head);
            let gone: Vec<u64> = gone.map(|(id, _)| id).collect();
            for id in gone {
                self.index.remove(id);
                self.orders.remove(&id);
            }
            while self.index.segments.front().is_some_and(|s| s.id.number < head) {
                self.index.segments.pop_front();
            }
            self.ignore_leftovers(head);
        }
        if self.declared_head > 0 {
            self.missing_segments(lowest);
        }
        self.report.segments = self.index.segments.iter().filter(|s| s.present).count() as u64;
        self.report.records = self.index.len() as u64;
        self.report.lsn = self.last.unwrap_or(self.first.map_or(0, |first| first - 1));
    }

    /// Accounts for segment numbers that are taken by files that hold nothing.
    fn fill_up_to(&mut self, highest: u64, limit: u64) -> Result<(), StoreError> {
        let Some(last) = self.index.segments.back().map(|segment| segment.id) else {
            return Ok(());
        };
        if highest.saturating_sub(last.number) > limit {
            return Err(StoreError::Mixed {
                file: SegmentId { number: highest, ..last }.file_name(),
            });
        }
        for number in last.number + 1..=highest {
            let id = SegmentId { number, ..last };
            self.index.segments.push_back(Segment {
                id,
                end: 0,
                live: 0,
                live_bytes: 0,
                present: false,
            });
        }
        Ok(())
    }

    /// Takes back what was reported about files below the head.
    fn ignore_leftovers(&mut self, head: u64) {
        let below = |file: &str| SegmentId::from_file_name(file).is_some_and(|id| id.number < head);
        let mut segments = std::mem::take(&mut self.hole_segments).into_iter();
        self.report.holes.retain(|hole| {
            let lost_from = segments.next().flatten();
            !below(&hole.file) && lost_from.is_none_or(|segment| segment >= head)
        });
        self.report.torn = self.report.torn.take().filter(|torn| !below(&torn.file));
    }

    /// The last segment's first write was cut: it holds nothing, and its successor will say so.
    fn cut_headless(&mut self) {
        let Some((number, torn)) = self.headless.take() else { return };
        let Some(last) = self.index.segments.back_mut().filter(|s| s.id.number == number) else {
            return;
        };
        last.end = 0;
        if torn.bytes > 0 && self.report.torn.as_ref().is_none_or(|t| t.file == torn.file) {
            self.report.torn = Some(torn);
        }
    }

    /// A missing first segment shows only here; others show as missing batches.
    fn missing_segments(&mut self, lowest: u64) {
        let Some(salt) = self.index.segments.front().map(|segment| segment.id.salt) else { return };
        for number in (self.declared_head..lowest).take(1) {
            let file = SegmentId { number, salt }.file_name();
            self.report.holes.push(Hole { file, offset: 0, bytes: 0, kind: HoleKind::Segment });
        }
    }
}

fn undecided(number: u64, exact: bool, file: &str, damaged: Damaged<'_>) -> Undecided {
    let mut found = Vec::new();
    for (offset, frame) in &damaged.frames {
        changes(number, *offset, frame, |change| found.push(change));
    }
    let intact = damaged.frames.len() as u64;
    Undecided {
        number,
        exact,
        file: file.to_owned(),
        batch: damaged.head.map(|head| (head.seq, head.count, intact)),
        offset: damaged.offset,
        end: damaged.end,
        changes: found,
        holes: damaged.holes,
    }
}

fn changes(number: u64, offset: u64, frame: &Frame<'_>, mut sink: impl FnMut(Change)) {
    match frame.kind {
        Kind::Put | Kind::PutAt => {
            let order = frame.order();
            let place = Place::new(number, offset, frame.len(), order.is_some());
            sink(Change::Put { id: frame.id, place, bytes: frame.len(), order });
        }
        Kind::Kill => frame.killed().for_each(|id| sink(Change::Kill(id))),
        Kind::Batch => {}
    }
}

fn apply(index: &mut Index, orders: &mut HashMap<u64, u64>, change: Change) {
    let id = match change {
        Change::Put { id, place, bytes, order } => {
            index.set(id, place, bytes);
            if let Some(order) = order {
                orders.insert(id, order);
                return;
            }
            id
        }
        Change::Kill(id) => {
            index.remove(id);
            id
        }
    };
    if !orders.is_empty() {
        orders.remove(&id);
    }
}
