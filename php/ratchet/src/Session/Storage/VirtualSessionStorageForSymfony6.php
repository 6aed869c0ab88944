<?php

declare(strict_types=1);

namespace Ratchet\Session\Storage;

// One class does for all versions of Symfony; this name is kept for those who wrote it down.
class_alias(VirtualSessionStorage::class, VirtualSessionStorageForSymfony6::class);
