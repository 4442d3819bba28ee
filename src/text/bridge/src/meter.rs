//! A bound on the memory of untrusted code. Steps do not bound it: `s ~ s` in a loop doubles a text thirty times in a
//! hundred steps. Rust cannot unwind out of an allocator, so such code runs on a helper thread, and a thread that asks
//! for too much is stopped for good where it stands, with what it holds (less than its limit), while its caller goes on
//! with an error. What is left behind stays until the program ends, so such code must not be run again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

const LIMIT: isize = 48 << 20;
const COUNTED_FROM: usize = 1024;  // smaller blocks are bounded by the steps, and most of all blocks are smaller
const STACK_BYTES: usize = 16 << 20;

type Job = Box<dyn FnOnce() -> Box<dyn std::any::Any + Send> + Send>;

#[derive(Default)]
struct State {
    job: Option<Job>,
    result: Option<Box<dyn std::any::Any + Send>>,
    exceeded: bool,
    closed: bool,
}

#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wait_while(&self, busy: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while busy(&state) {
            state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        state
    }
}

thread_local! {
    // The desk of the metered job that this thread runs; null everywhere else.
    static METERED: Cell<*const Desk> = const { Cell::new(std::ptr::null()) };
    static USED: Cell<isize> = const { Cell::new(0) };
    static HELPER: RefCell<Option<Helper>> = const { RefCell::new(None) };
}

struct MeteredAllocator;

#[global_allocator]
static ALLOCATOR: MeteredAllocator = MeteredAllocator;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for MeteredAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        System.alloc_zeroed(layout)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        System.dealloc(block, layout)
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(-(layout.size() as isize));
        count(size as isize);
        System.realloc(block, layout, size)
    }
}

#[inline]
fn count(bytes: isize) {
    if bytes.unsigned_abs() >= COUNTED_FROM {
        count_large(bytes);
    }
}

#[cold]
fn count_large(bytes: isize) {
    let desk = METERED.with(Cell::get);
    if desk.is_null() {
        return;
    }
    let used = USED.with(Cell::get).saturating_add(bytes);
    USED.with(|cell| cell.set(used));
    if used > LIMIT {
        // SAFETY: the helper thread that set METERED keeps its desk alive, and never ends from here on.
        stop_for_good(unsafe { &*desk });
    }
}

fn stop_for_good(desk: &Desk) -> ! {
    desk.lock().exceeded = true;
    desk.changed.notify_all();
    loop {
        std::thread::park();
    }
}

/// A thread that runs one metered job after another.
struct Helper {
    desk: Arc<Desk>,
}

impl Helper {
    fn start() -> std::io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let shared = desk.clone();
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || serve(&shared))?;
        Ok(Helper { desk })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.desk.lock().closed = true;
        self.desk.changed.notify_all();
    }
}

fn serve(desk: &Arc<Desk>) {
    loop {
        let job = {
            let mut state = desk.wait_while(|state| state.job.is_none() && !state.closed);
            if state.closed {
                return;
            }
            state.job.take()
        };
        let Some(job) = job else { continue };
        USED.with(|used| used.set(0));
        METERED.with(|metered| metered.set(Arc::as_ptr(desk)));
        let result = job();
        METERED.with(|metered| metered.set(std::ptr::null()));
        desk.lock().result = Some(result);
        desk.changed.notify_all();
    }
}

/// Runs `job` with its memory bounded; None when it asked for more. `job` must not panic.
pub fn bounded<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> std::io::Result<Option<T>> {
    let helper = match HELPER.with(|helper| helper.borrow_mut().take()) {
        Some(helper) => helper,
        None => Helper::start()?,
    };
    helper.desk.lock().job = Some(Box::new(move || Box::new(job())));
    helper.desk.changed.notify_all();
    let mut state = helper.desk.wait_while(|state| state.result.is_none() && !state.exceeded);
    let result = state.result.take();
    drop(state);
    let Some(result) = result else { return Ok(None) };  // the stopped thread is left behind
    HELPER.with(|slot| *slot.borrow_mut() = Some(helper));
    Ok(result.downcast::<T>().ok().map(|value| *value))
}

/// Bytes a job may hold.
pub const fn limit() -> usize {
    LIMIT as usize
}
