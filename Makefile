# moe-tools -- `make help` lists the targets.
#
#   make            builds what this machine can: the six programs, with oneDNN if it is there
#   make demo       installs what is missing, builds, runs the whole pipeline on the models in examples/
#   make check      installs what is missing, builds, runs the tests
#
# Everything is named relative to the checkout, whose own path may contain spaces; BUILD may not.

PREFIX  ?= /usr/local
# Only the command line says otherwise: what is in the environment under this name is for something else.
BUILD    = build
CC      ?= cc
OBJCOPY ?= objcopy
# Code for any machine of this architecture; hot loops are compiled for several instruction sets and
# chosen at run time, so nothing is gained by -march=native except in them.
CFLAGS  ?= -O2 -g
WARN     = -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wno-format-nonliteral -Wno-psabi
SAN     ?=
# A line for each step; make V=1 shows the commands.
Q        = $(if $(V),,@)
say      = @$(if $(V),:,echo) ' '
VERSION  = $(shell cat VERSION)

# Matrix products of f32: onednn or builtin (our own). Automatic: oneDNN where its header is installed.
BLAS    ?= $(if $(wildcard /usr/include/oneapi/dnnl/dnnl.h /usr/local/include/oneapi/dnnl/dnnl.h),onednn,builtin)
ifeq ($(BLAS),onednn)
BLAS_LIBS = -ldnnl -lgomp
else
BLAS_LIBS =
endif

ALL_CFLAGS = -std=c11 -D_POSIX_C_SOURCE=200809L $(WARN) $(CFLAGS) $(SAN) -ffp-contract=off -pthread -Ilib -Icmd -I$(BUILD) $(EXTRA_CFLAGS)
LDFLAGS  += $(SAN) -pthread

PROGRAMS = moe-inspect moe-observe moe-score moe-prune moe-quant moe-bench
# The cheap programs do not link the engine: they start in milliseconds.
LIGHT_DIRS = base jinja model model/container model/families quant text stats score surgery
HEAVY_DIRS = device cpu load engine engine/mixers observe judge
LIGHT_SRC := $(sort $(foreach d,$(LIGHT_DIRS),$(wildcard lib/$(d)/*.c)))
HEAVY_SRC := $(sort $(foreach d,$(HEAVY_DIRS),$(wildcard lib/$(d)/*.c)))
LIGHT_OBJ := $(LIGHT_SRC:%.c=$(BUILD)/%.o)
# The matrix products of f32 are those of one maker.
HEAVY_SRC := $(filter-out $(if $(filter onednn,$(BLAS)),lib/cpu/gemm_builtin.c,lib/cpu/gemm_onednn.c),$(HEAVY_SRC))

# Hot loops are compiled for several instruction sets, of which one is chosen at run time (lib/base/isa.h):
# multiply-adds are fused, and gcc vectorises fully at -O3 only.
SETS = plain
ifneq ($(filter x86_64-%,$(shell $(CC) -dumpmachine 2>/dev/null)),)
SETS += avx2 avx512 avx512_bf16
endif
SET_avx2 = -mavx2 -mfma
SET_avx512 = $(SET_avx2) -mavx512f -mavx512bw -mavx512dq -mavx512vl
SET_avx512_bf16 = $(SET_avx512) -mavx512bf16
HOT_FLAGS = $(if $(filter -O0,$(CFLAGS)),,-O3)
# A set of them is one object, of which only this is visible, with the set's name at its end.
SET_SYMBOLS = cpu_open cpu_f32 cpu_bf16
SET_SRC := $(filter-out lib/cpu/cpu_head_join.c,$(wildcard lib/cpu/cpu*.c)) lib/cpu/product.c
# Of x86 alone: it asks for its instructions whatever the set.
X86_SRC := lib/cpu/product_bf16.c
HEAVY_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(SET_SRC) $(if $(filter avx2,$(SETS)),,$(X86_SRC)),$(HEAVY_SRC))) \
             $(SETS:%=$(BUILD)/lib/cpu/%.o)
CMD_SHARED := $(patsubst %.c,$(BUILD)/%.o,cmd/common.c cmd/progress.c $(wildcard cmd/option*.c))
# These linked in where that can be: what few runs need makes no start slower.
linked_in = $(or $(filter /%,$(shell $(CC) -print-file-name=lib$(1).a 2>/dev/null)),-l$(1))
UNPACK_LIBS := $(call linked_in,z) $(call linked_in,zstd)
LIGHT_LIBS = -lcjson -lxxhash -lpcre2-8 -lutf8proc $(UNPACK_LIBS) -lm
HEAVY_LIBS = $(BLAS_LIBS) -ldl

TEST_SRC := $(sort $(wildcard tests/test_*.c))
TEST_BIN := $(TEST_SRC:tests/%.c=$(BUILD)/tests/%) $(patsubst %,$(BUILD)/tests/%,mkmodel mkrandom real)

## all: build the six programs (default)
all: $(PROGRAMS:%=$(BUILD)/%) $(if $(wildcard $(BUILD)/libmoe-cuda.so),stale)

# A backend that was built before and is of another contract now: building it takes minutes and nvcc, so only a word.
stale: $(BUILD)/contract.h
	@cmp -s $< $(BUILD)/kernels/contract.h || \
	    echo "  libmoe-cuda.so is of another build than the programs, which will not open it: make cuda" >&2

## help: list these targets
help:
	@sed -n 's/^## //p' Makefile

# Written anew only when the version, the compiler or its options change: then everything is rebuilt.
$(BUILD)/version.h: VERSION FORCE
	@mkdir -p $(BUILD)
	@printf '/* %s %s */\n#define MOE_VERSION "%s"\n#define MOE_BUILD "built with %s, products by %s"\n' \
	    '$(CC)' '$(ALL_CFLAGS)' '$(VERSION)' "$$($(CC) --version | sed 1q)" '$(BLAS)' > $@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv -f $@.new $@; fi

# What programs and backends were built from: neither opens the other when the contract between them, device.h and
# all that it includes, differs. Written anew only when that changes.
$(BUILD)/contract.h: FORCE
	@mkdir -p $(BUILD)
	@set -- $$($(CC) -MM -Ilib lib/device/device.h | sed 's/.*://; s/\\$$//') && cat /dev/null "$$@" | cksum | \
	    sed 's/\([0-9]*\).*/#define MOE_CONTRACT \1u/' > $@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv -f $@.new $@; fi

$(BUILD)/lib/device/registry.o $(BUILD)/lib/cpu/sets.o $(BUILD)/kernels/cuda/backend.o: $(BUILD)/contract.h

$(BUILD)/%.o: %.c $(BUILD)/version.h
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(ALL_CFLAGS) $(FILE_FLAGS) -MMD -MP -c -o $@ $<

# Loops that quant/hot.h compiles for several sets by itself, and products that are of one set only.
$(patsubst %,$(BUILD)/lib/%.o,quant/stored quant/bf16 quant/mxfp4 quant/mxfp4_encode quant/fp8_encode \
    quant/int4 quant/nvfp4 quant/format_plain stats/aimer judge/repair_sums \
    $(patsubst lib/%.c,%,$(wildcard lib/quant/coding_*.c))): FILE_FLAGS = $(HOT_FLAGS)
$(X86_SRC:%.c=$(BUILD)/%.o): FILE_FLAGS = $(HOT_FLAGS) -ffp-contract=fast $(SET_avx512_bf16) -mamx-tile -mamx-bf16

define set_rules
$(BUILD)/lib/cpu/$(1)/%.o: lib/cpu/%.c $(BUILD)/version.h
	@mkdir -p $$(@D)
	$$(say) CC $$@
	$$(Q)$$(CC) $$(ALL_CFLAGS) $$(HOT_FLAGS) -ffp-contract=fast $$(SET_$(1)) -MMD -MP -c -o $$@ $$<

$(BUILD)/lib/cpu/$(1).o: $(SET_SRC:lib/cpu/%.c=$(BUILD)/lib/cpu/$(1)/%.o)
	$$(Q)$$(LD) -r -o $$@ $$^
	$$(Q)$$(OBJCOPY) $$(foreach s,$$(SET_SYMBOLS),--redefine-sym $$(s)=$$(s)_$(1) --keep-global-symbol=$$(s)_$(1)) $$@
endef
$(foreach s,$(SETS),$(eval $(call set_rules,$(s))))

$(BUILD)/libmoe.a: $(LIGHT_OBJ)
	@mkdir -p $(@D) && rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/libmoe-engine.a: $(HEAVY_OBJ)
	@mkdir -p $(@D) && rm -f $@
	$(Q)$(AR) rcs $@ $^

LIGHT_PROGRAMS = moe-inspect moe-score moe-prune moe-quant
HEAVY_PROGRAMS = moe-observe moe-bench

$(LIGHT_PROGRAMS:%=$(BUILD)/%): $(BUILD)/%: $(BUILD)/cmd/%.o $(CMD_SHARED) $(BUILD)/libmoe.a
	$(say) LINK $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIGHT_LIBS)

$(BUILD)/moe-inspect: $(patsubst %.c,$(BUILD)/%.o,$(wildcard cmd/inspect_*.c)) $(BUILD)/cmd/text_opts.o
$(BUILD)/moe-score: $(patsubst %.c,$(BUILD)/%.o,$(wildcard cmd/score_*.c))
$(BUILD)/moe-bench: $(patsubst %.c,$(BUILD)/%.o,$(wildcard cmd/bench_*.c))
$(HEAVY_PROGRAMS:%=$(BUILD)/%): $(BUILD)/%: $(BUILD)/cmd/%.o $(CMD_SHARED) $(BUILD)/cmd/engine_opts.o $(BUILD)/cmd/text_opts.o $(BUILD)/libmoe-engine.a $(BUILD)/libmoe.a
	$(say) LINK $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(HEAVY_LIBS) $(LIGHT_LIBS)

$(BUILD)/tests/%: tests/%.c $(BUILD)/libmoe-engine.a $(BUILD)/libmoe.a
	@mkdir -p $(@D)
	$(say) TEST $@
	$(Q)$(CC) $(ALL_CFLAGS) -Itests -MMD -MP $(LDFLAGS) -o $@ $< $(BUILD)/libmoe-engine.a $(BUILD)/libmoe.a $(HEAVY_LIBS) $(LIGHT_LIBS)

# The CUDA backend: one shared object that the programs open when it is there. CUDA_ARCH: compute capabilities
# to make code for; the newest also as PTX, for GPUs that come later.
NVCC      ?= $(firstword $(wildcard /usr/local/cuda/bin/nvcc) nvcc)
CUDA_ARCH ?= 80 89 90 100 120 121
CUDA_SRC  := $(sort $(wildcard kernels/cuda/*.cu))
CUDA_OBJ  := $(CUDA_SRC:%.cu=$(BUILD)/%.o)
CUDA_BASE := $(patsubst %,$(BUILD)/kernels/%.o,err mem thread)
# 9.0 in its own variant, whose matrix instructions no later one has.
CUDA_CODE  = $(foreach a,$(CUDA_ARCH:90=90a),-gencode=arch=compute_$(a),code=sm_$(a)) \
             -gencode=arch=compute_$(lastword $(CUDA_ARCH:90=80)),code=compute_$(lastword $(CUDA_ARCH:90=80))
NVCCFLAGS ?= -O3

## cuda: the GPU backend, for which nvcc is needed (CUDA_ARCH=90: for one GPU only)
cuda: $(BUILD)/libmoe-cuda.so

# As version.h: another CUDA_ARCH, compiler or option, and everything is built anew.
$(BUILD)/kernels/options: FORCE
	@mkdir -p $(@D)
	@echo '$(NVCC) $(NVCCFLAGS) $(CUDA_CODE)' > $@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv -f $@.new $@; fi

$(BUILD)/kernels/cuda/%.o: kernels/cuda/%.cu $(wildcard kernels/cuda/*.h) $(BUILD)/kernels/options
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) $(CUDA_CODE) -Ilib -I$(BUILD) -Xcompiler -fPIC,-fvisibility=hidden,-Wall -MMD -MP -c -o $@ $<

$(BUILD)/kernels/%.o: lib/base/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<

$(BUILD)/libmoe-cuda.so: $(CUDA_OBJ) $(CUDA_BASE)
	$(NVCC) -shared -cudart static -Xlinker -Bsymbolic -o $@ $^
	@cp $(BUILD)/contract.h $(BUILD)/kernels/contract.h

## demo: install what is missing, build, run the whole pipeline on the models in examples/
demo:
	@BLAS='$(BLAS_CHOICE)' tools/packages build
	@$(MAKE) $(PARALLEL) --no-print-directory all
	@examples/demo.sh '$(BUILD)'

## check: install what is missing, build, run the tests (TESTS="model score": only these)
check: test-programs
	@tests/run $(BUILD) $(TESTS)
# PREBUILT=1: what stands in $(BUILD) is tested as it is, on a machine without compilers and packages, say.
test-programs:
ifndef PREBUILT
	@BLAS='$(BLAS_CHOICE)' tools/packages build test
	@$(MAKE) $(PARALLEL) --no-print-directory all $(TEST_BIN)
endif

## check-gpu: all tests, the slow ones too, with everything that computes on the GPU; PREBUILT=1: builds nothing
check-gpu: $(if $(PREBUILT),,cuda) test-programs
	@tests/gpu $(BUILD) check $(TESTS)

## check-gpu-sanitizer: the GPU's code on small models under compute-sanitizer, if there is one
check-gpu-sanitizer: $(if $(PREBUILT),,cuda) test-programs
	@tests/gpu $(BUILD) sanitize

## check-asan: the tests with the address and undefined behaviour sanitizers
check-asan:
	@ASAN_OPTIONS=exitcode=99:allocator_may_return_null=1 UBSAN_OPTIONS=exitcode=99:print_stacktrace=1 \
	    $(MAKE) --no-print-directory check BUILD=$(BUILD)-asan CFLAGS='-O1 -g -fno-omit-frame-pointer' \
	    SAN='-fsanitize=address,undefined -fno-sanitize-recover=all'

## check-interop: what other programs make of our files, with the packages of PYTHON=DIR/bin/python3 (tests/README.md)
PYTHON ?= python3
check-interop:
	@$(MAKE) $(PARALLEL) --no-print-directory all
	@$(MAKE) $(PARALLEL) --no-print-directory $(BUILD)/tests/logits $(BUILD)/tests/mkrandom
	@'$(PYTHON)' tests/interop/check.py '$(BUILD)' $(TESTS)

## check-real: what of the config.json files and chat templates in REAL="DIR ..." is taken (a hub cache, say)
check-real: $(BUILD)/tests/real
	@BUILD='$(BUILD)' tests/check-real $(REAL)

## compatibility: the same, into doc/compatibility.md
compatibility: $(BUILD)/tests/real
	@PAGE=doc/compatibility.md BUILD='$(BUILD)' tests/check-real $(REAL)

## check-builtin: the tests with our own products in place of oneDNN
check-builtin:
	@$(MAKE) --no-print-directory check BUILD=$(BUILD)-builtin BLAS=builtin

## lint: formatting, man pages, shell scripts, cppcheck if it is installed
lint:
	@tools/packages lint
	@tools/lint

## bench: prefill speed, alone and observing, of the models in examples and of MODEL=..., beside this machine's peak/
bench: all
	@for m in examples/tiny-qwen3 examples/tiny-gptoss $(if $(MODEL),"$(MODEL)"); do echo "$$m"; \
	    $(BUILD)/moe-bench speed $(BENCH) "$$m" | sed 's/^/    /' || exit; done

## quality: what each criterion costs on MODELS, into doc/quality.md (CALIB, EVAL: JSON lines; CODE: categories)
quality: all
	$(if $(and $(MODELS),$(CALIB),$(EVAL)),,$(error quality needs MODELS="DIR ...", CALIB=FILE and EVAL=FILE))
	@CALIB='$(CALIB)' EVAL='$(EVAL)' CODE='$(CODE)' BUILD='$(BUILD)' tools/quality $(MODELS) >$(BUILD)/quality.md
	@awk 'FNR == NR { table = table $$0 "\n"; next } /^<!-- make quality/ { print; printf "\n%s", table; skip = 1 } \
	    /^<!-- end -->/ { skip = 0 } !skip' $(BUILD)/quality.md doc/quality.md >$(BUILD)/quality.page
	@cp $(BUILD)/quality.page doc/quality.md

DATADIR = $(DESTDIR)$(PREFIX)/share
MAN1 = $(notdir $(wildcard man/*.1))
MAN5 = $(notdir $(wildcard man/*.5))
MAN7 = $(notdir $(wildcard man/*.7))
EXAMPLES = $(patsubst examples/%,%,$(shell find examples -type f | LC_ALL=C sort))

## install: programs, man pages, completion and examples under $(DESTDIR)$(PREFIX)
install: all
	for f in $(BUILD)/libmoe-*.so; do [ ! -f "$$f" ] || \
	    install -D -m 755 "$$f" "$(DESTDIR)$(PREFIX)/lib/moe-tools/$${f##*/}" || exit; done
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DATADIR)/bash-completion/completions"
	for i in 1 5 7; do install -d "$(DATADIR)/man/man$$i" || exit; done
	install -m 755 $(PROGRAMS:%=$(BUILD)/%) "$(DESTDIR)$(PREFIX)/bin"
	for f in $(MAN1) $(MAN5) $(MAN7); do \
	    install -m 644 "man/$$f" "$(DATADIR)/man/man$${f##*.}/" || exit; done
	for p in $(PROGRAMS); do \
	    install -m 644 tools/completion.bash "$(DATADIR)/bash-completion/completions/$$p" || exit; done
	for f in $(EXAMPLES); do m=644; if [ -x "examples/$$f" ]; then m=755; fi; \
	    install -D -m $$m "examples/$$f" "$(DATADIR)/moe-tools/examples/$$f" || exit; done

## uninstall: remove what install put there
uninstall:
	for p in $(PROGRAMS); do \
	    rm -f "$(DESTDIR)$(PREFIX)/bin/$$p" "$(DATADIR)/bash-completion/completions/$$p"; done
	for f in $(MAN1) $(MAN5) $(MAN7); do rm -f "$(DATADIR)/man/man$${f##*.}/$$f"; done
	rm -rf "$(DATADIR)/moe-tools" "$(DESTDIR)$(PREFIX)/lib/moe-tools"

## clean: remove everything that was built
clean:
	for d in $(BUILD) $(BUILD)-asan $(BUILD)-builtin $(BUILD)-cuda; do \
	    if [ -e $$d/version.h ] || [ -e $$d/contract.h ]; then rm -rf $$d; fi || exit; done

# What the user said about BLAS, if anything; without it the package script chooses.
BLAS_CHOICE = $(if $(filter file,$(origin BLAS)),,$(BLAS))
# All cores, unless the user gave -j.
PARALLEL = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

.PHONY: all stale help cuda demo check check-gpu check-gpu-sanitizer test-programs check-asan check-builtin check-interop check-real compatibility lint bench quality install uninstall clean FORCE
.SECONDARY:
-include $(LIGHT_OBJ:.o=.d) $(HEAVY_OBJ:.o=.d) $(wildcard $(BUILD)/lib/cpu/*/*.d) $(wildcard $(BUILD)/cmd/*.d) $(wildcard $(BUILD)/tests/*.d) $(wildcard $(BUILD)/kernels/*.d $(BUILD)/kernels/cuda/*.d)
