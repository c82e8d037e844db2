# Two commands: `make up` (build, start vane with a demo, show where to look) and `make test`.
# Both install the Debian 12 packages that are missing (as root or through sudo) and say which.
PREFIX ?= /usr/local

.DEFAULT_GOAL := build
.PHONY: dist deb build ui up down test test-long asan tsan bench fuzz format lint install clean help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{ printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup-build:
	@tools/setup.sh build ui

ui: setup-build ## the web UI (ui/dist)
	@tools/build-ui.sh

build: ui ## release build: build/vane
	@[ -e build/build.ninja ] || meson setup build --buildtype=release -Dtests=false >/dev/null
	@ninja -C build

up: build ## build, start vane and the demo services; Ctrl-C stops (DETACH=1: go on in the background)
	@DETACH=$(DETACH) tools/up.sh

down: ## stop what `make up DETACH=1` started
	@tools/up.sh down

test: build ## everything that proves vane, in under 15 minutes
	@tools/setup.sh build ui test
	@tools/e2e-clients.sh
	@[ -e build-test/build.ninja ] || meson setup build-test --buildtype=debugoptimized >/dev/null
	@ninja -C build-test
	@tools/test.py build-test --no-suite long

test-long: test ## the long ones too: sanitizers, thousands of crash seeds, an hour's soak (SOAK_SECONDS) each
	@tools/test.py build-test --suite long --no-suite soak
	@$(MAKE) --no-print-directory asan tsan
	@SOAK_SECONDS=$(or $(SOAK_SECONDS),3600) tools/test.py build-asan --suite soak
	@SOAK_SECONDS=$(or $(SOAK_SECONDS),3600) setarch -R tools/test.py build-tsan --suite soak

asan: ui ## all tests under AddressSanitizer and UBSan
	@[ -e build-asan/build.ninja ] || meson setup build-asan -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-asan
	@tools/test.py build-asan --no-suite long --timeout-multiplier 5

tsan: ui ## all tests under ThreadSanitizer
	@[ -e build-tsan/build.ninja ] || meson setup build-tsan -Db_sanitize=thread -Db_lundef=false >/dev/null
	@ninja -C build-tsan
	@setarch -R tools/test.py build-tsan --no-suite long --timeout-multiplier 10

bench: build ## measure: prints JSON, a line a figure
	@[ -e build-bench/build.ninja ] || meson setup build-bench --buildtype=release >/dev/null
	@ninja -C build-bench
	@meson test -C build-bench --benchmark --verbose

fuzz: ## every decoder under libFuzzer, FUZZ_SECONDS each (default 20)
	@tools/setup.sh build dev
	@[ -e build-fuzz/build.ninja ] || CC=clang-14 CXX=clang++-14 meson setup build-fuzz -Dfuzz=true -Dtests=false -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-fuzz
	@tools/fuzz.sh build-fuzz $(or $(FUZZ_SECONDS),20)

format: ## clang-format over what git tracks
	@tools/setup.sh dev
	@git ls-files 'src/*.[ch]' 'tests/*.[ch]' 'bench/*.c' 'fuzz/*.c' 'examples/*.[ch]' 'contrib/*.[ch]' | xargs clang-format-14 -i

dist: ## libvane as two files: dist/vane.c, dist/vane.h
	@python3 tools/amalgamate.py . dist $$(sed -n "/^sdk_fast\|^sdk_small/,/)/p" src/sdk/meson.build | grep -o "sdk_[a-z_]*\.c" | sed "s|^|src/sdk/|")
	@ls -l dist/vane.c dist/vane.h

deb: build ## Debian packages vane, libvane, libvane-dev in dist/
	@tools/deb.sh build dist

install: build ## install under PREFIX (default /usr/local)
	@meson configure build --prefix=$(PREFIX) >/dev/null
	@ninja -C build >/dev/null
	@meson install -C build --no-rebuild

clean: ## remove what was built
	@rm -rf build build-* ui/dist
