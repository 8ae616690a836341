# experiment.mk -- which criterion, and how much? Every combination judged from one observation, before
# anything is cut: moe-bench masks the experts that a plan drops, which is what the pruned model would compute.
#
#   make -f examples/experiment.mk MODEL=... DATA=calib.jsonl EVAL=held-out.jsonl RATIOS="0.25 0.5"
#
# EVAL must not be text from DATA. Another ratio or criterion reruns moe-score and moe-bench, never
# moe-observe; another MODEL or other options make anew what was made with them, and an interrupted run goes on. The
# table is in WORK/table.txt.

# Numbers are written and sorted in one way, whatever the language.
export LC_ALL := C

MODEL    ?= $(error MODEL=... is missing: a directory or a hub id)
DATA     ?= $(error DATA=... is missing: text to observe)
EVAL     ?= $(error EVAL=... is missing: other text, to judge with)
CRITERIA ?= gate_squared_ean_sum weighted_ean_sum reap
RATIOS   ?= 0.25 0.5
WORK     ?= experiment
# More options, for example OBSERVE="--max-len 512".
OBSERVE  ?=
BENCH    ?=

BIN   ?= $(patsubst %moe-bench,%,$(wildcard $(dir $(lastword $(MAKEFILE_LIST)))../build/moe-bench))
# criterion@ratio
RUNS  := $(foreach c,$(CRITERIA),$(foreach r,$(RATIOS),$(c)@$(r)))

table: $(WORK)/table.txt
	@cat $<

$(WORK)/run.stats: $(DATA) $(wildcard $(DATA:%=%/*)) $(wildcard $(MODEL)/*.json $(MODEL)/*.jinja $(MODEL)/*.safetensors) $(WORK)/observed
	@rm -f $@
	@if [ -n "$$(find $(DATA) -newer $@.partial 2>/dev/null)" ]; then rm -f $@.partial; fi
	$(BIN)moe-observe $(OBSERVE) --resume -o $@ $(MODEL) $(DATA)

$(WORK)/%.tsv: $(WORK)/run.stats
	@rm -f $@
	$(BIN)moe-score -q -c $(word 1,$(subst @, ,$*)) -r $(word 2,$(subst @, ,$*)) -o $@ $<

$(WORK)/%.judged: $(WORK)/%.tsv $(EVAL) $(wildcard $(EVAL:%=%/*)) $(WORK)/judged
	$(BIN)moe-bench compare --tsv $(BENCH) --plan $< --force -o $@ $(MODEL) $(EVAL)

$(WORK)/table.txt: $(RUNS:%=$(WORK)/%.judged) FORCE
	@awk -F '\t' 'BEGIN { printf "%-24s %-8s %10s %10s %10s\n", "criterion", "ratio", "KL", "same_top", "ppl_ratio" } \
	    /^#columns/ { for (i = 2; i <= NF; i++) at[$$i] = i - 1 } \
	    !/^#/ && $$at["category"] == "*" { name = $$1; sub(/.*\//, "", name); sub(/\.tsv$$/, "", name); split(name, part, "@"); \
	        printf "%-24s %-8s %10.4f %9.2f%% %10.4f\n", part[1], part[2], $$at["kl_mean"], 100 * $$at["same_top"], $$at["ppl_ratio"] }' \
	    $(RUNS:%=$(WORK)/%.judged) >$@.new
	@mv $@.new $@

# What the expensive steps were told; touched only when that changes. A hub id may mean another model than before.
# Sizes and times are in it, since a file that takes another's place may be older.
seen = ls -lLn $1 2>/dev/null | awk '{ print $$5, $$6, $$7, $$8, $$9 }'
SELF := $(shell { $(BIN)moe-inspect --json $(MODEL) 2>/dev/null; $(call seen,$(wildcard $(MODEL)/*)); } | cksum)
$(WORK)/observed: told = $(MODEL) $(SELF) $(DATA) $(shell $(call seen,$(DATA)) | cksum) $(OBSERVE)
$(WORK)/judged: told = $(MODEL) $(SELF) $(EVAL) $(shell $(call seen,$(EVAL)) | cksum) $(BENCH)
$(WORK)/observed $(WORK)/judged: FORCE
	@mkdir -p $(WORK)
	@if [ ! -e $(WORK)/observed ] && [ -e $(WORK)/run.stats ]; then \
	    echo '$(WORK)/run.stats was not made by this makefile: move it, or name another WORK' >&2; exit 1; fi
	@if [ ! -e $@ ] || [ "$$(cat $@)" != '$(strip $(told))' ]; then \
	    rm -f $(if $(filter %/observed,$@),$(WORK)/run.stats.partial) && echo '$(strip $(told))' >$@; fi

.PHONY: table FORCE
.SECONDARY:
.DELETE_ON_ERROR:
