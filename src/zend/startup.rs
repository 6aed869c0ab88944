//! The startup of the module.

/// Proof that the module is starting: PHP has one thread, and no script has run.
pub(crate) struct Startup(());

/// The code that the module runs when it starts.
pub(crate) trait Module {
    fn start(startup: &Startup);
}

/// The startup function, which only the engine calls.
pub(crate) extern "C" fn startup<M: Module>(_kind: i32, _module: i32) -> i32 {
    M::start(&Startup(()));
    0
}
