//! `AclTable::check` runs for each publish and each delivery and must not allocate. A counting
//! allocator proves it; this file holds one test only, so that no other thread is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use mqtt_auth::{AclTable, Action, Who};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `alloc` above, which is the system allocator's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn checking_allocates_nothing() {
    let table = AclTable::parse(
        "topic read open/#\nuser ann\ntopic a/+/c\ntopic deny a/b/c\n\
         pattern u/%u/%c/#\npattern read c-%c/+\n",
    )
    .unwrap();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut allowed = 0;
    for username in [None, Some("ann"), Some("bob"), Some("b+")] {
        let who = Who { username, client_id: "some-client" };
        for action in [Action::Publish, Action::Deliver, Action::Subscribe] {
            for topic in ["open/x", "a/b/c", "a/x/c", "u/ann/some-client/1", "c-some-client/x"] {
                allowed += usize::from(table.check(black_box(&who), action, topic).is_allowed());
            }
        }
    }
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    assert_eq!(after - before, 0);
    assert!(allowed > 20, "some of it must be allowed: {allowed}");
    drop(black_box(String::from("seen")));
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > after, "the counter counts");
}
