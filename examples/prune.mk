# prune.mk -- a model and text in; several plans, judged; the best one cut and checked; a verdict in words.
#
#   make -f examples/prune.mk MODEL=openai/gpt-oss-20b DATA=prompts/ RATIO=0.25
#   make -f examples/prune.mk MODEL=openai/gpt-oss-20b DATA="code.jsonl chat.jsonl" FIT=12GB OUT=gpt-oss-small
#   make -f examples/prune.mk judge MODEL=... DATA=...                  # stops before anything is cut
#
# No criterion is best everywhere, so one observation makes a plan by each of several, and all are judged by masking
# on text that was not observed (moe-bench compare: for N plans about 0.55 (N + 1) times the forward pass over that
# text). The best is cut, compared byte for byte with the original and checked. What it costs stands in
# WORK/.../verdict.txt and is printed; beyond LIMIT nothing is cut, that step ends with status 3, and what was
# computed stays. examples/README.md goes through it line by line.
#
# Every step leaves a file in WORK and is not done again while what it was made from stays the same: another amount
# costs scoring and judging, not another pass over the calibration text. A run that was interrupted, even by kill -9, goes
# on where it stopped, within the observation too. An OUT that was not made here is not replaced. (Names must not
# contain spaces, make's own limit; the folder in which it runs, and this file's, may.)

# Numbers are written and sorted in one way, whatever the language.
export LC_ALL := C

MODEL    ?= $(error MODEL=... is missing: a directory or a hub id)
DATA     ?= $(error DATA=... is missing: files of text or JSON lines, or folders of them)
OUT      ?= $(notdir $(patsubst %/,%,$(firstword $(subst @, ,$(MODEL)))))-pruned
WORK     ?= $(OUT).work
# How much goes: this share of each layer's experts; or KEEP stay; or so many that weights and the key-value cache
# of CONTEXT tokens FIT into that size (a runtime needs 1 to 2 GB more).
RATIO    ?= 0.25
KEEP     ?=
FIT      ?=
CONTEXT  ?= 8192
# Documents of a category that are observed, and judged; empty: all. A folder may hold anything; whoever names files
# means what is in them.
SAMPLES  ?= $(if $(wildcard $(DATA:%=%/.)),75)
# Other text to judge with. Without it every fourth document of a category of DATA is held out.
EVAL     ?=
# A criterion of moe-score, and ways to select joined by +: worst (what the worst category loses), super (super
# experts stay), turns (each category chooses two experts first). CRITERION=reap is that one alone.
CRITERION ?= gate_squared_ean_sum gate_squared_ean_sum+worst reap weighted_ean_sum weighted_ean_sum_l2 \
             weighted_expert_frequency_sum hope_sum gram
PLANS    ?= $(CRITERION)
# Anything: also what moe-bench refine makes by measuring on the observed text, of the default's plan (refine) and of
# all experts (cut). It is dear, up to 24 masked passes a layer and round, and was the best where it was tried.
REFINE   ?=
# What the best plan is best in: category_mean, kl_mean (over all tokens) or worst_kl (the worst category).
BY       ?= category_mean
# No more KL divergence than this, in nats a token: mean over categories, and of the worst one (doc/quality.md says
# what these numbers mean).
LIMIT          ?= 0.3
LIMIT_CATEGORY ?= 0.6
# More options for each step, for example OBSERVE="--max-len 4096 --mem-max 32GB" or SCORE="--weights code=3,chat=1".
OBSERVE  ?=
SCORE    ?=
JUDGE    ?= $(OBSERVE)

# The programs that were built here, or those in the PATH.
HERE := $(dir $(lastword $(MAKEFILE_LIST)))
BIN  ?= $(patsubst %moe-bench,%,$(wildcard $(HERE)../build/moe-bench))

LINK := (a name with a space? make cannot take it: a symbolic link without one serves)
$(foreach v,MODEL OUT WORK,$(if $(filter-out 1,$(words $($(v)))),$(error $(v): '$($(v))' is not one name $(LINK))))
ABSENT := $(firstword $(foreach d,$(DATA) $(EVAL),$(if $(wildcard $d),,$d)))
$(if $(ABSENT),$(error DATA, EVAL: there is no '$(ABSENT)' $(LINK)))

$(if $(filter 1,$(words $(filter category_mean kl_mean worst_kl,$(BY)))),,$(error BY: '$(BY)' is none of category_mean, kl_mean, worst_kl))
$(if $(filter-out 1,$(words $(BY))),$(error BY: '$(BY)' is more than one of category_mean, kl_mean, worst_kl))
override PLANS += $(if $(REFINE),refine cut)
ODD := $(filter-out worst super turns,$(foreach p,$(PLANS),$(wordlist 2,9,$(subst +, ,$(p)))))
$(if $(ODD),$(error PLANS: $(firstword $(ODD)) is none of worst, super, turns))
# The rest too is looked at before the expensive step: criteria by moe-score itself, and numbers.
ODD := $(strip $(foreach p,$(sort $(filter-out refine cut,$(foreach p,$(PLANS),$(firstword $(subst +, ,$p))))),$(shell \
    $(BIN)moe-score -q -c '$p' /nonexistent/stats 2>&1 | sed -n 's/^moe-score: \(unknown criterion[^:]*\).*/\1;/p')))
$(if $(ODD),$(error PLANS: $(ODD) moe-score --list prints them))
, := ,
NUMBER  := ([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?
no       = $(if $($1),$(if $(shell printf '%s\n' '$($1)' | grep -Ex '$2'),,$(error $1: '$($1)' is not $3)))
$(call no,LIMIT,$(NUMBER),a number such as 0.3)$(call no,LIMIT_CATEGORY,$(NUMBER),a number such as 0.6)
$(call no,RATIO,0|0?\.[0-9]+|[0-9]{1$(,)2}(\.[0-9]*)?%,a share such as 0.25 or 25%)$(call no,KEEP,[1-9][0-9]*,a number of experts)
$(if $(KEEP),$(if $(FIT),$(error KEEP, FIT: give one of them)))

STATS := $(WORK)/run.stats
# Plans and what was judged of them, for each amount.
DIR   := $(WORK)/$(if $(KEEP),keep-$(KEEP),$(if $(FIT),fit-$(FIT)-$(CONTEXT),$(subst %,-percent,$(RATIO))))
TSV   := $(PLANS:%=$(DIR)/%.tsv)
MANY   = $(if $(KEEP),-k $(KEEP),$(if $(FIT),-k $$(cat $(DIR)/keep),-r $(RATIO)))
text          = $(SAMPLES:%=--samples-per-category %)
observed_text = $(if $(EVAL),,--hold-out 4) $(text) $(OBSERVE)
judged_text   = $(if $(EVAL),,--held-out 4) $(text) $(JUDGE)
# Criteria of pairs need the matrices of the observation, which are made if one is asked for.
PAIRS     := hope hope_sum gram
MATRICES  := $(if $(filter $(PAIRS) $(PAIRS:%=%+%),$(PLANS)),--matrices $(WORK)/run.matrices)
OPT_worst := --select worst
OPT_super := --protect super
OPT_turns := --protect turns=2

# The page comes first, so that it is there when the verdict is a refusal.
verdict: $(DIR)/report.html $(WORK)/checked $(DIR)/verdict.txt
	@cat $(DIR)/verdict.txt

judge: $(DIR)/table.txt $(DIR)/best.tsv $(DIR)/report.html
	@cat $(DIR)/table.txt

# Expensive: passes over the text. Depends on the model's files where MODEL is a directory, and on the files of a
# folder of text. What older text left half done is no beginning.
files = $1 $(wildcard $(1:%=%/*))
$(STATS): $(call files,$(DATA)) $(wildcard $(MODEL)/*.json $(MODEL)/*.jinja $(MODEL)/*.safetensors) $(WORK)/observed | $(if $(FIT),$(DIR)/keep)
	@rm -f $@ $(WORK)/run.matrices
	@if [ -n "$$(find $(DATA) -newer $@.partial 2>/dev/null)" ]; then rm -f $@.partial $(WORK)/run.matrices.partial*; fi
	$(strip $(BIN)moe-observe $(observed_text) $(MATRICES) --resume -o $@ $(MODEL) $(DATA))

$(DIR)/keep: $(WORK)/observed
	@mkdir -p $(DIR)
	$(BIN)moe-inspect --fit $(FIT) --context $(CONTEXT) $(MODEL) >$@.text || { status=$$?; cat $@.text; exit $$status; }
	@cat $@.text
	@awk '{ if ($$1 == $$3) { print "the whole model fits: nothing has to go" >"/dev/stderr"; exit 1 } print $$1 }' $@.text >$@.new
	@mv $@.new $@

# Cheap: a plan for each criterion.
SEARCHED := $(DIR)/refine.tsv $(DIR)/cut.tsv
$(filter-out $(SEARCHED),$(TSV)): $(DIR)/%.tsv: $(STATS) $(WORK)/scored $(if $(FIT),$(DIR)/keep)
	@mkdir -p $(DIR)
	$(strip $(BIN)moe-score -q -c $(firstword $(subst +, ,$*)) $(MANY) $(if $(filter $(PAIRS),$(firstword $(subst +, ,$*))),$(MATRICES)) \
	    $(foreach o,$(wordlist 2,9,$(subst +, ,$*)),$(OPT_$(o))) $(SCORE) --force -o $@ $<)

# Dear: by measuring on the text that was observed.
$(SEARCHED): $(DIR)/%.tsv: $(STATS) $(WORK)/scored $(if $(FIT),$(DIR)/keep)
	@mkdir -p $(DIR)/search
	$(BIN)moe-score -q $(MANY) $(SCORE) --force -o $(DIR)/search/refine.tsv $<
	$(BIN)moe-score -q -r 0 $(SCORE) --force -o $(DIR)/search/cut.tsv $<
	$(BIN)moe-bench refine $(if $(filter cut,$*),-k $$(awk '/^[0-9]/ { if (!n++) l = $$1; if ($$1 != l) exit; k += $$3 } END { print k }' $(DIR)/search/refine.tsv)) \
	    $(observed_text) --plan $(DIR)/search/$*.tsv --force -o $@ $(MODEL) $(DATA)

# All plans at once, each on its own line, and one for each category.
$(DIR)/compare.tsv: $(TSV) $(call files,$(or $(EVAL),$(DATA))) $(DIR)/judged
	$(strip $(BIN)moe-bench compare $(judged_text) --tsv $(TSV:%=--plan %) --force -o $@ $(MODEL) $(or $(EVAL),$(DATA)))

$(DIR)/table.txt: $(DIR)/compare.tsv $(DIR)/chosen
	@awk -F '\t' -v by=$(BY) '/^#columns/ { for (i = 2; i <= NF; i++) at[$$i] = i - 1 } \
	    !/^#/ && $$at["category"] == "*" { sub(/.*\//, "", $$1); sub(/\.tsv$$/, "", $$1); \
	        print $$at[by], $$1, $$at["category_mean"], $$at["kl_mean"], $$at["worst_kl"], $$at["worst"] }' $< | sort -s -g -k 1,1 | \
	    awk 'BEGIN { printf "%-32s %13s %10s %10s %s\n", "plan", "category_mean", "kl_mean", "worst_kl", "worst" } \
	         { printf "%-32s %13.5f %10.5f %10.5f %s\n", $$2, $$3, $$4, $$5, $$6 }' >$@.new
	@mv $@.new $@

$(DIR)/best.tsv: $(DIR)/table.txt $(TSV)
	@cp $(DIR)/$$(awk 'NR == 2 { print $$1 }' $<).tsv $@.new
	@mv $@.new $@

# To look at.
$(DIR)/report.html: $(DIR)/compare.tsv $(TSV) $(STATS)
	@$(HERE)report/moe-report -t '$(MODEL)' $(STATS) $(TSV) $(DIR)/compare.tsv >$@.new
	@mv $@.new $@

# In words; and whether it is worth cutting.
$(DIR)/verdict.txt: $(DIR)/best.tsv $(DIR)/compare.tsv $(HERE)verdict $(DIR)/limits
	@$(HERE)verdict $(MODEL) $(OUT) $(DIR) $(LIMIT) $(LIMIT_CATEGORY) >$@.text || { status=$$?; cat $@.text; exit $$status; }
	@mv $@.text $@

# A copy, compared byte for byte with the original. Only one that was made here is replaced.
$(OUT)/config.json: $(DIR)/best.tsv $(WORK)/pruned | $(DIR)/verdict.txt
	@[ -e $(OUT) ] || echo '$(OUT)' >$(WORK)/made
	$(BIN)moe-prune --verify $(if $(filter $(OUT),$(file <$(WORK)/made)),$(shell [ ! -e $(OUT) ] || echo --force)) $(MODEL) $(DIR)/best.tsv $(OUT)

$(WORK)/checked: $(OUT)/config.json $(wildcard $(OUT)/*)
	$(BIN)moe-inspect --check $(OUT)
	@touch $@

# What each step was told; touched only when that changes. A hub id may mean another model than before.
# Sizes and times are in it, since a file that takes another's place may be older.
seen = ls -lLn $1 2>/dev/null | awk '{ print $$5, $$6, $$7, $$8, $$9 }'
SELF := $(shell { $(BIN)moe-inspect --json $(MODEL) 2>/dev/null; $(call seen,$(wildcard $(MODEL)/*)); } | cksum)
STAMPS := $(WORK)/observed $(WORK)/scored $(WORK)/pruned $(DIR)/judged $(DIR)/chosen $(DIR)/limits
$(WORK)/observed: told = $(MODEL) $(SELF) $(DATA) $(shell $(call seen,$(DATA)) | cksum) $(observed_text) $(MATRICES)
$(WORK)/scored: told = $(SCORE)
$(WORK)/pruned: told = $(MODEL) $(SELF) $(DIR)
$(DIR)/judged: told = $(MODEL) $(SELF) $(or $(EVAL),$(DATA)) $(shell $(call seen,$(or $(EVAL),$(DATA))) | cksum) $(judged_text) $(PLANS)
$(DIR)/chosen: told = $(BY)
$(DIR)/limits: told = $(LIMIT) $(LIMIT_CATEGORY) $(OUT)
$(STAMPS): FORCE
	@mkdir -p $(DIR)
	@if [ ! -e $(WORK)/observed ] && [ -e $(STATS) ]; then \
	    echo '$(STATS) was not made by this makefile: move it, or name another WORK' >&2; exit 1; fi
	@if [ ! -e $@ ] || [ "$$(cat $@)" != '$(strip $(told))' ]; then \
	    rm -f $(if $(filter %/observed,$@),$(STATS).partial $(WORK)/run.matrices.partial*) && echo '$(strip $(told))' >$@; fi

.PHONY: verdict judge FORCE
.SECONDARY:
.DELETE_ON_ERROR:
