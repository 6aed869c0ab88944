<?php

declare(strict_types=1);

namespace Ratchet\Session\Storage;

// One class serves all versions of Symfony. This name remains for applications that refer to it.
class_alias(VirtualSessionStorage::class, VirtualSessionStorageForSymfony6::class);
