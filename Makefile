# moe-tools -- `make help` lists the targets.
#
#   make            builds what this machine can: the six programs, with oneDNN if it is there, else OpenBLAS
#   make demo       installs what is missing, builds, runs the whole pipeline on the models in examples/
#   make check      installs what is missing, builds, runs the tests

PREFIX  ?= /usr/local
BUILD   ?= build
CC      ?= cc
# Code for any machine of this architecture; hot loops are compiled for several instruction sets and
# chosen at run time, so nothing is gained by -march=native except in them.
CFLAGS  ?= -O2 -g
WARN     = -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wno-format-nonliteral
SAN     ?=
VERSION  = $(shell cat VERSION)

# Matrix products: onednn or openblas. Automatic: oneDNN where its header is installed.
BLAS    ?= $(if $(wildcard /usr/include/oneapi/dnnl/dnnl.h /usr/local/include/oneapi/dnnl/dnnl.h),onednn,openblas)
ifeq ($(BLAS),onednn)
BLAS_DEF  = -DMOE_ONEDNN
BLAS_LIBS = -ldnnl -lgomp
else
BLAS_DEF  = -DMOE_OPENBLAS
BLAS_LIBS = -lopenblas
endif

ALL_CFLAGS = -std=c11 -D_POSIX_C_SOURCE=200809L $(WARN) $(CFLAGS) $(SAN) -ffp-contract=off -pthread -Ilib -Icmd -I$(BUILD) $(BLAS_DEF) $(EXTRA_CFLAGS)
LDFLAGS  += $(SAN) -pthread

PROGRAMS = moe-inspect moe-observe moe-score moe-prune moe-quant moe-bench
# The cheap programs do not link the engine: they start in milliseconds.
LIGHT_DIRS = base model quant text stats score surgery
HEAVY_DIRS = engine judge
LIGHT_SRC := $(sort $(foreach d,$(LIGHT_DIRS),$(wildcard lib/$(d)/*.c)))
HEAVY_SRC := $(sort $(foreach d,$(HEAVY_DIRS),$(wildcard lib/$(d)/*.c)))
LIGHT_OBJ := $(LIGHT_SRC:%.c=$(BUILD)/%.o)
HEAVY_OBJ := $(HEAVY_SRC:%.c=$(BUILD)/%.o)
CMD_SHARED := $(BUILD)/cmd/common.o
LIGHT_LIBS = -lcjson -lxxhash -lpcre2-8 -lutf8proc -lm
HEAVY_LIBS = $(BLAS_LIBS) -ldl

TEST_SRC := $(sort $(wildcard tests/test_*.c))
TEST_BIN := $(TEST_SRC:tests/%.c=$(BUILD)/tests/%)

## all: build the six programs (default)
all: $(PROGRAMS:%=$(BUILD)/%)

## help: list these targets
help:
	@sed -n 's/^## //p' Makefile

# version.h changes only when its text does, so that an unchanged tree does not rebuild.
$(BUILD)/version.h: VERSION Makefile
	@mkdir -p $(BUILD)
	@printf '#define MOE_VERSION "%s"\n#define MOE_BUILD "built with %s, products by %s"\n' \
	    '$(VERSION)' "$$($(CC) --version | sed 1q)" '$(BLAS)' > $@

$(BUILD)/%.o: %.c $(BUILD)/version.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/libmoe.a: $(LIGHT_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/libmoe-engine.a: $(HEAVY_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

LIGHT_PROGRAMS = moe-inspect moe-score moe-prune moe-quant
HEAVY_PROGRAMS = moe-observe moe-bench

$(LIGHT_PROGRAMS:%=$(BUILD)/%): $(BUILD)/%: $(BUILD)/cmd/%.o $(CMD_SHARED) $(BUILD)/libmoe.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LIGHT_LIBS)

$(BUILD)/moe-bench: $(patsubst %.c,$(BUILD)/%.o,$(wildcard cmd/bench_*.c))
$(HEAVY_PROGRAMS:%=$(BUILD)/%): $(BUILD)/%: $(BUILD)/cmd/%.o $(BUILD)/cmd/common.o $(BUILD)/cmd/engine_opts.o $(BUILD)/libmoe-engine.a $(BUILD)/libmoe.a
	$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(HEAVY_LIBS) $(LIGHT_LIBS)

$(BUILD)/tests/%: tests/%.c $(BUILD)/libmoe-engine.a $(BUILD)/libmoe.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Itests -MMD -MP $(LDFLAGS) -o $@ $< $(BUILD)/libmoe-engine.a $(BUILD)/libmoe.a $(HEAVY_LIBS) $(LIGHT_LIBS)

.PHONY: all help
.SECONDARY:
-include $(LIGHT_OBJ:.o=.d) $(HEAVY_OBJ:.o=.d) $(wildcard $(BUILD)/cmd/*.d) $(wildcard $(BUILD)/tests/*.d)
