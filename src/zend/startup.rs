//! The start of the module.

/// Proof that the module is starting: PHP has one thread, and no script has run.
pub(crate) struct Startup(());

/// What the module does when it starts.
pub(crate) trait Module {
    fn start(startup: &Startup);
}

/// The startup function for the engine, which alone calls it.
pub(crate) extern "C" fn startup<M: Module>(_kind: i32, _module: i32) -> i32 {
    M::start(&Startup(()));
    0
}
