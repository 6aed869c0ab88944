<?php

/** Tests the check of imports on small crates: what it must report, and what it must accept. */

declare(strict_types=1);

namespace Imports;

require __DIR__ . '/Crate.php';

const PICTURE = "//! The crate.\n//!\n//! ```text\n//! a.rs   the roof\n//! b.rs  c/\n//! d.rs\n//! ```\n";
const MODULES = "mod a;\nmod b;\nmod c;\nmod d;\n";

/** @return array{list<list<string>>, ?list<string>, list<string>} Loops, upward imports, and errors in the picture. */
function judge(array $files): array
{
    $folder = sys_get_temp_dir() . '/imports-' . bin2hex(random_bytes(6));
    mkdir("$folder/c", 0700, true);
    $files += ['a.rs' => '', 'b.rs' => '', 'c/mod.rs' => "pub(crate) mod inner;\n", 'c/inner.rs' => '', 'd.rs' => ''];
    foreach ($files as $name => $text) {
        file_put_contents("$folder/$name", $text);
    }
    try {
        $crate = new Crate($folder);
        $found = [$crate->loops(), $crate->upward(), $crate->misdrawn()];
    } finally {
        array_map(fn (string $name): bool => unlink("$folder/$name"), array_keys($files));
        rmdir("$folder/c");
        rmdir($folder);
    }
    return array_map(fn (?array $list): ?array => $list === null ? null : json_decode(str_replace(
        substr((string) json_encode($folder), 1, -1) . '\/',
        '',
        (string) json_encode($list),
    ), true), $found);
}

function expect(string $name, array $files, array $loops, ?array $upward, array $misdrawn = []): void
{
    $found = judge($files + ['lib.rs' => PICTURE . MODULES]);
    if ($found !== [$loops, $upward, $misdrawn]) {
        echo "not ok - $name: found ", json_encode($found, JSON_UNESCAPED_SLASHES), "\n";
        exit(1);
    }
    echo "ok - $name\n";
}

expect('imports that run downward pass', [
    'a.rs' => "use crate::{b, c::inner::{self, Thing}, d::*};\nfn f() { b::g(); inner::h(); }",
    'b.rs' => "use crate::c::inner;\nfn g() { inner::h(); crate::d::k(); }",
    'c/inner.rs' => "use super::super::d;\nfn h() { d::k() }\nstruct Thing;",
    'd.rs' => "use std::fmt;\nfn k() { fmt::format() }",
], [], []);

expect('an import upward is found by file and line', [
    'd.rs' => "// one\n\nuse crate::{\n    b::Held,\n};",
    'b.rs' => 'pub(crate) struct Held;',
], [], ['d.rs:3: imports b.rs']);

expect('a path without a use line counts', ['d.rs' => "\nfn f() { crate::a::g() }", 'a.rs' => 'fn g() {}'], [], ['d.rs:2: imports a.rs']);

expect('a path that begins with an imported module counts', [
    'd.rs' => "use crate::c;\nfn f() {\n    c::inner::h()\n}",
    'c/inner.rs' => 'fn h() {}',
], [], ['d.rs:3: imports c/inner.rs']);

expect('a loop on one floor is found', [
    'b.rs' => "use crate::c::inner::Thing;\nstruct Other;",
    'c/inner.rs' => "use crate::b::Other;\nstruct Thing;",
], [['b.rs', 'c/inner.rs']], []);

expect('a folder and its file may not import each other', [
    'c/mod.rs' => "mod inner;\npub(crate) use inner::Thing;\nstruct Shared;",
    'c/inner.rs' => "use super::Shared;\npub(crate) struct Thing;",
], [['c/mod.rs', 'c/inner.rs']], []);

expect('a name is followed through re-exports to the file that defines it', [
    'lib.rs' => PICTURE . MODULES . "pub use c::Thing;\n",
    'c/mod.rs' => "mod inner;\npub(crate) use inner::*;",
    'c/inner.rs' => 'pub struct Thing;',
    'd.rs' => "use crate::Thing as Other;",
], [], ['d.rs:1: imports c/inner.rs']);

expect('the roof is lib.rs itself', [
    'lib.rs' => PICTURE . MODULES . "fn start() { a::f() }\n",
    'a.rs' => "fn f() { crate::start() }",
], [['lib.rs', 'a.rs']], ['a.rs:1: imports lib.rs']);

expect('tests, fuzzing, comments and strings do not count', [
    'd.rs' => <<<'RUST'
        //! Not [`crate::a::g`].
        /* nor /* crate::a::g */ crate::a::g */
        #[cfg(test)]
        use crate::{a::g, b::Held};
        #[cfg(any(test, fuzzing))]
        #[allow(dead_code)]
        mod tests { fn f() { crate::a::g(); } }
        fn f<'a>(x: &'a str) -> &'a str { let _ = ('"', r#"crate::a::g "#, "\"crate::a::g"); x }
        struct S { #[cfg(test)] field: crate::a::G, other: u8 }
        #[cfg(test)]
        mod harness;
        RUST,
    'a.rs' => 'fn g() {} struct G;',
    'b.rs' => 'struct Held;',
], [], []);

expect('code for not(test), and code after a test item, counts', [
    'd.rs' => "#[cfg(test)]\nfn f() { a(b, c) }\n#[cfg(not(test))]\nuse crate::a::g;\nuse crate::b::Held;",
    'a.rs' => 'fn g() {}',
    'b.rs' => 'struct Held;',
], [], ['d.rs:4: imports a.rs', 'd.rs:5: imports b.rs']);

expect('super in an inline module is the file', [
    'd.rs' => "mod part {\n    use super::super::a::g;\n    use super::k;\n}\nfn k() {}\nfn l() { super::b::m() }",
    'a.rs' => 'fn g() {}',
    'b.rs' => 'fn m() {}',
], [], ['d.rs:2: imports a.rs', 'd.rs:6: imports b.rs']);

expect('the picture must be complete and true', [
    'lib.rs' => str_replace(['b.rs  c/', 'd.rs'], ['b.rs', 'd.rs  gone/'], PICTURE) . MODULES,
], [], [], [
    'lib.rs: the picture has no floor for c/mod.rs',
    'lib.rs: the picture has no floor for c/inner.rs',
    'lib.rs: the picture names gone/, which does not exist',
]);

expect('another picture is not one of floors', [
    'lib.rs' => "//! ```text\n//! sockets -> threads\n//! ```\n" . MODULES,
], [], null);
