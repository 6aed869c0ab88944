dnl cargo builds Sprocket, not phpize's own rules. Instead of PHP_NEW_EXTENSION, this file adds the
dnl module to make's targets, and Makefile.frag contains the rule that builds it.

PHP_ARG_ENABLE([sprocket],
  [whether to enable Sprocket],
  [AS_HELP_STRING([--enable-sprocket], [Enable Sprocket, the native WebSocket server])],
  [yes])

PHP_ARG_ENABLE([sprocket-debug],
  [whether to build Sprocket without optimisation],
  [AS_HELP_STRING([--enable-sprocket-debug], [Build Sprocket without optimisation (quick to compile, slow to run)])],
  [no], [no])

if test "$PHP_SPROCKET" != "no"; then
  dnl The path is absolute, because "sudo make install" may run with another PATH.
  SPROCKET_CARGO=`command -v "${CARGO:-cargo}"`
  if test -z "$SPROCKET_CARGO" && test -z "$CARGO" && test -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo"; then
    SPROCKET_CARGO=${CARGO_HOME:-$HOME/.cargo}/bin/cargo
  fi
  dnl php-config may be a name or a relative path, but cargo's build scripts run in another folder.
  AS_CASE([$PHP_CONFIG],
    [/*], [SPROCKET_PHP_CONFIG=$PHP_CONFIG],
    [*/*], [SPROCKET_PHP_CONFIG=`cd \`dirname "$PHP_CONFIG"\` && pwd`/`basename "$PHP_CONFIG"`],
    [SPROCKET_PHP_CONFIG=`command -v "$PHP_CONFIG"`])

  AC_MSG_CHECKING([for what a build of Sprocket needs])
  sprocket_missing=`CARGO=${SPROCKET_CARGO:-${CARGO:-cargo}} PHP_CONFIG=$SPROCKET_PHP_CONFIG PHP= sh "$abs_srcdir/bin/build" --check 2>&1`
  if test $? -ne 0; then
    AC_MSG_RESULT([something is missing])
    AC_MSG_ERROR([
$sprocket_missing])
  fi
  AC_MSG_RESULT([found])

  SPROCKET_SOURCES=`find "$abs_srcdir/src" "$abs_srcdir/crates" -name '*.rs' -o -name Cargo.toml`
  for sprocket_file in Cargo.toml Cargo.lock build.rs .cargo/config.toml bin/build; do
    test ! -f "$abs_srcdir/$sprocket_file" || SPROCKET_SOURCES="$SPROCKET_SOURCES $abs_srcdir/$sprocket_file"
  done
  SPROCKET_BUILD_FLAGS=
  test "$PHP_SPROCKET_DEBUG" = "no" || SPROCKET_BUILD_FLAGS=--debug

  PHP_SUBST([SPROCKET_CARGO])
  PHP_SUBST([SPROCKET_PHP_CONFIG])
  PHP_SUBST([SPROCKET_SOURCES])
  PHP_SUBST([SPROCKET_BUILD_FLAGS])
  PHP_MODULES="$PHP_MODULES \$(phplibdir)/sprocket.la"
  PHP_ADD_BUILD_DIR([$abs_builddir/modules])
  PHP_ADD_MAKEFILE_FRAGMENT([$abs_srcdir/Makefile.frag], [$abs_srcdir], [$abs_builddir])

  dnl The stock "make clean" deletes every .o, .a and .so below this folder. Cargo's caches contain
  dnl such files and take minutes to rebuild, so the search skips them.
  AC_CONFIG_COMMANDS([sprocket-clean], [
    tab=`printf '\t'`
    sed -e '/-prune/!s#^\('"$tab"'find \.\) \(.*\)| *xargs#\1 -name target -prune -o \\( \2 \\) -print | xargs#' Makefile > Makefile.sprocket && mv Makefile.sprocket Makefile
  ])
fi
