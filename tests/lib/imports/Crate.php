<?php

declare(strict_types=1);

namespace Imports;

require_once __DIR__ . '/RustFile.php';

/**
 * The files of a crate, the imports between them, and the floors that its `lib.rs` draws.
 *
 * An import of an item counts as an import of the file that defines it, also through re-exports. An
 * import of a module counts only where the module is used.
 */
final class Crate
{
    /** @var array<string, RustFile> By path below the folder of `lib.rs`. */
    private array $files = [];

    /** @var array<string, array<string, int>> Importing file, imported file, line of the first import. */
    private array $edges = [];

    private readonly Module $root;

    public function __construct(private readonly string $folder)
    {
        $this->root = new Module('crate', 'lib.rs', null);
        $this->read('lib.rs', $this->root, '');
        foreach ($this->files as $file) {
            $this->connect($file);
        }
    }

    /**
     * @return list<list<string>> The files of each loop.
     */
    public function loops(): array
    {
        $loops = [];
        $seen = [];
        foreach (array_keys($this->files) as $file) {
            if (isset($seen[$file])) {
                continue;
            }
            $members = array_filter(
                array_keys($this->files),
                fn (string $other): bool => $other !== $file && $this->way($file, $other) && $this->way($other, $file),
            );
            $seen += array_fill_keys($members, true);
            if ($members) {
                $loops[] = [$file, ...array_values($members)];
            }
        }
        return $loops;
    }

    /**
     * A shortest loop through each of the files, one import per line. Each loop appears once.
     *
     * @param list<string> $files
     * @return list<string>
     */
    public function rounds(array $files): array
    {
        $rounds = [];
        foreach ($files as $file) {
            $ways = array_map(fn (string $next): ?array => $this->way($next, $file), array_keys($this->edges[$file]));
            $ways = array_filter($ways);
            usort($ways, fn (array $a, array $b): int => count($a) <=> count($b));
            $lines = [];
            $from = $file;
            foreach ($ways[0] as $to) {
                $lines[] = '    ' . $this->describe($from, $to);
                $from = $to;
            }
            $names = $ways[0];
            sort($names);
            $rounds[implode(' ', $names)] ??= [...$lines, ''];
        }
        return array_merge(...array_values($rounds));
    }

    /** @return ?list<string> Upward imports, one per line; null if `lib.rs` draws no floors. */
    public function upward(): ?array
    {
        $floors = $this->floors();
        if ($floors === null) {
            return null;
        }
        $upward = [];
        foreach ($this->edges as $from => $targets) {
            foreach (array_keys($targets) as $to) {
                if (self::floorOf($floors, $from) > self::floorOf($floors, $to)) {
                    $upward[] = $this->describe($from, $to);
                }
            }
        }
        return $upward;
    }

    /** @return list<string> Differences between the drawn floors and the files. */
    public function misdrawn(): array
    {
        $wrong = [];
        $floors = $this->floors() ?? [];
        foreach (array_keys($this->files) as $file) {
            if ($floors && $file !== 'lib.rs' && self::floorOf($floors, $file) === null) {
                $wrong[] = "{$this->folder}/lib.rs: the picture has no floor for $file";
            }
        }
        foreach (array_keys($floors) as $name) {
            $held = array_filter(array_keys($this->files), fn (string $file): bool => self::covers((string) $name, $file));
            if (!$held) {
                $wrong[] = "{$this->folder}/lib.rs: the picture names $name, which does not exist";
            }
        }
        return $wrong;
    }

    /**
     * The floors: name of a file or folder, and the number of its floor from the roof down. Each line of
     * the picture is a floor. It begins with names that end with `.rs` or `/`; an explanation may follow.
     *
     * @return ?array<string, int>
     */
    private function floors(): ?array
    {
        $documentation = RustFile::documentation((string) file_get_contents("{$this->folder}/lib.rs"));
        preg_match_all('~^```text\n(.*?)^```~ms', $documentation, $blocks);
        foreach ($blocks[1] as $block) {
            $floors = [];
            foreach (array_filter(explode("\n", $block), 'trim') as $floor => $line) {
                if (!preg_match('~^\s*((?:[\w/]+(?:\.rs|/)(?:\s+|$))+)~', $line, $match)) {
                    continue 2;
                }
                foreach (preg_split('~\s+~', trim($match[1])) as $name) {
                    $floors[$name] = $floor;
                }
            }
            if ($floors) {
                return $floors;
            }
        }
        return null;
    }

    /**
     * The floor of a file, by the longest name that covers it. `lib.rs` is the roof.
     *
     * @param array<string, int> $floors
     */
    private static function floorOf(array $floors, string $file): ?int
    {
        $best = null;
        foreach (array_keys($floors) as $name) {
            if (self::covers($name, $file) && ($best === null || strlen($name) > strlen($best))) {
                $best = $name;
            }
        }
        return $best === null ? ($file === 'lib.rs' ? -1 : null) : $floors[$best];
    }

    private static function covers(string $name, string $file): bool
    {
        return $name === $file
            || (str_ends_with($name, '/') && (str_starts_with($file, $name) || $file === rtrim($name, '/') . '.rs'));
    }

    /** @param string $below The folder of the module's children. */
    private function read(string $name, Module $module, string $below): void
    {
        $file = new RustFile($name, (string) file_get_contents("{$this->folder}/$name"), $module);
        $this->files[$name] = $file;
        foreach ($file->declared as [$child, $path, $parent]) {
            $inline = '';
            for ($at = $parent; $at !== $module; $at = $at->parent) {
                $inline = "{$at->name}/$inline";
            }
            $folder = $below . $inline;
            if ($path !== null) {
                $found = ltrim(dirname($name) . "/$path", './');
            } else {
                $found = is_file("{$this->folder}/$folder$child.rs") ? "$folder$child.rs" : "$folder$child/mod.rs";
            }
            if (!is_file("{$this->folder}/$found")) {
                throw new \RuntimeException("{$this->folder}/$name declares the module $child, whose file is missing");
            }
            $this->read($found, new Module($child, $found, $parent), "$folder$child/");
        }
    }

    private function connect(RustFile $file): void
    {
        foreach ($file->modules as $module) {
            foreach ($module->imports as $import) {
                $target = $this->resolve($module, $import->path);
                if ($target instanceof Module) {
                    $target = $import->name === null ? $target->file : null;
                }
                $this->edge($file->name, $target, $import->line);
            }
        }
        foreach ($file->paths as [$path, $line, $module]) {
            $target = $this->resolve($module, $path);
            $this->edge($file->name, $target instanceof Module ? $target->file : $target, $line);
        }
    }

    private function edge(string $from, ?string $to, int $line): void
    {
        if ($to !== null && $to !== $from) {
            $this->edges[$from][$to] = min($line, $this->edges[$from][$to] ?? $line);
        }
    }

    /**
     * The module that a path names, or the file that defines the item; null outside the crate.
     *
     * @param list<string> $path
     * @param array<string, true> $asked Names being resolved, to stop at circular imports.
     */
    private function resolve(Module $module, array $path, array $asked = []): Module|string|null
    {
        $at = $module;
        foreach ($path as $index => $name) {
            $next = match ($name) {
                'crate' => $this->root,
                'self' => $at,
                'super' => $at->parent,
                default => $this->lookUp($at, $name, $asked),
            };
            if ($next === null) {
                return $index === 0 ? null : $at->file;
            }
            if (is_string($next)) {
                return $next;
            }
            $at = $next;
        }
        return $at;
    }

    /** @param array<string, true> $asked */
    private function lookUp(Module $module, string $name, array $asked): Module|string|null
    {
        $key = spl_object_id($module) . $name;
        if (isset($asked[$key])) {
            return null;
        }
        $asked[$key] = true;
        if (isset($module->children[$name])) {
            return $module->children[$name];
        }
        if (isset($module->items[$name])) {
            return $module->file;
        }
        foreach ($module->imports as $import) {
            if ($import->name === $name) {
                return $this->resolve($module, $import->path, $asked);
            }
        }
        foreach ($module->imports as $import) {
            $target = $import->name === null ? $this->resolve($module, $import->path, $asked) : null;
            $found = $target instanceof Module ? $this->lookUp($target, $name, $asked) : null;
            if ($found !== null) {
                return $found;
            }
        }
        return null;
    }

    /** @return ?list<string> A shortest path of imports: the files after $from, up to and including $to. */
    private function way(string $from, string $to): ?array
    {
        $came = [$from => null];
        for ($queue = [$from]; $queue;) {
            $file = array_shift($queue);
            if ($file === $to) {
                for ($way = [$to]; $came[$file] !== null; $file = $came[$file]) {
                    array_unshift($way, $came[$file]);
                }
                return $way;
            }
            foreach (array_keys($this->edges[$file] ?? []) as $next) {
                if (!array_key_exists($next, $came)) {
                    $came[$next] = $file;
                    $queue[] = $next;
                }
            }
        }
        return null;
    }

    private function describe(string $from, string $to): string
    {
        return "{$this->folder}/$from:{$this->edges[$from][$to]}: imports $to";
    }
}
