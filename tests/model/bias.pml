/*
 * Model of the exclusion of cpus that change tables: biased ownership per table, its revocation, and work that excludes
 * all others.
 *
 * Modelled: CPUS cpus, each of which again and again opens a phase (phase word odd, fence, look at `closed`), acquires
 * one of TABLES tables or, if it is one of the first PAIRS cpus, two in either order, and ends the phase: unlocks, lowers.
 * A table's word is fresh, biased(c), revoking(c), shared or locked(c). A cpu that meets a table biased to another may mark
 * it and go on if the owner is in no phase. Else it ends its phase first, looks at the word again, marks it or waits, and
 * starts over. The first REBIAS cpus may take a shared table
 * as biased (for a table made anew in its frame). The last EXCLUSIVE cpus also work alone: mutex, `closed`, fence, wait
 * for every other phase, touch all tables. Stores pass through the store buffers of x86-TSO, which hold all that a phase
 * leaves (DEPTH). WITH_DATA, each table has a word that its holder loads when it acquires and stores when it ends.
 * Cpus go on forever or stop after any phase.
 *
 * Abstracted: a phase counter is its parity, and who waits for it is told when it moves on; a word's tag, which goes up
 * with each rebias, is that the words others remember become outdated. So both counters are unbounded. A load that finds
 * a fresh or shared word and the compare-exchange that follows are one step; so are steps of which no other process sees
 * the order. Data are counted modulo 2.
 *
 * Proved: no two cpus hold a table at once, nor one a table while another works alone; no update of data is lost; no
 * deadlock, a cpu that waits for one that stopped included.
 *
 * run pair: -DCPUS=2 -DTABLES=2 -DPAIRS=2 -DREBIAS=2 -DEXCLUSIVE=1 -DDEPTH=6 -DWITH_DATA
 * run three: -DCPUS=3 -DTABLES=2 -DPAIRS=2 -DREBIAS=2 -DEXCLUSIVE=1 -DDEPTH=3
 * run four: -DCPUS=4 -DTABLES=1 -DPAIRS=0 -DREBIAS=2 -DEXCLUSIVE=1 -DDEPTH=2
 *
 * mutation NO_FENCE_RAISE of pair, assertion: no fence after the phase word becomes odd
 * mutation NO_FENCE_CLOSE of pair, assertion: no fence after `closed` is set
 * mutation CLOSED_IGNORED of pair, assertion: a cpu that opens a phase does not look at `closed`
 * mutation PHASE_UNAWAITED of pair, assertion: who marked a word does not wait for the owner's phase
 * mutation PHASE_READ_FIRST of pair, assertion: the owner's phase is read before the word is marked
 * mutation IDLE_UNCHECKED of pair, assertion: a bias is taken away in a phase, whether its owner is in one or not
 * mutation LOWER_BEFORE_DATA of pair, assertion: the phase is lowered before the data are stored
 * mutation WAIT_INSIDE of pair, deadlock: a cpu waits before it ends its phase
 * mutation NO_TAG of three, assertion: words have no tag, so who slept completes the revocation of a later bias
 */

/* Words in memory. */
#define PHASE(c) (c)
#define TABLE(t) (CPUS + (t))
#define CLOSED (CPUS + TABLES)
#define DATA(t) (CLOSED + 1 + (t))
#ifdef WITH_DATA
#define WORDS (CLOSED + 1 + TABLES)
#else
#define WORDS (CLOSED + 1)
#endif

#define word(kind, cpu) ((kind) + (cpu) * 8)
#define kind_of(w) ((w) % 8)
#define cpu_of(w) ((w) / 8)
#define fresh 0
#define biased 1
#define revoking 2
#define shared 3
#define locked 4
#define outdated 5

byte memory[WORDS];
bit mutex;
/* What cpus remember. */
byte at[CPUS];      /* the table that it takes */
byte w[CPUS];       /* the word of that table that it waits for */
byte awaited[CPUS]; /* the cpu + 1 whose phase was odd, or moved_on */
#define moved_on 9

/* Ghosts. */
byte holder[TABLES]; /* the cpu + 1 that acquired it, until its release is in memory */
#ifdef WITH_DATA
bit truth[TABLES];   /* what DATA holds if no update was lost, modulo 2 */
#endif

/* x86-TSO: a FIFO of stores per cpu, which its own loads look through, newest first. */
typedef fifo {
  byte n;
  byte to[DEPTH];
  byte value[DEPTH]
}
fifo stores[CPUS];

inline store(a, v) {
  d_step {
    stores[me].n < DEPTH ->
    stores[me].to[stores[me].n] = a;
    stores[me].value[stores[me].n] = v;
    stores[me].n++
  }
}
inline load(x, a) {
  d_step {
    x = memory[a];
    i = 0;
    do
    :: i < stores[me].n ->
       if
       :: stores[me].to[i] == a -> x = stores[me].value[i]
       :: else
       fi;
       i++
    :: else -> break
    od;
    i = 0
  }
}
#define in_order (stores[me].n == 0)
/* The oldest store of a cpu reaches memory. */
inline drain_one(c) {
  d_step {
    stores[c].n > 0 ->
    if
    :: stores[c].to[0] == PHASE(c) -> /* the counter moves on: whoever waits sees that, at once or later */
       k = 0;
       do
       :: k < CPUS ->
          if
          :: awaited[k] == c + 1 -> awaited[k] = moved_on
          :: else
          fi;
          if
          :: k < TABLES && holder[k] == c + 1 && stores[c].value[0] == 0 -> holder[k] = 0
          :: else
          fi;
          k++
       :: else -> break
       od
    :: stores[c].to[0] >= TABLE(0) && stores[c].to[0] < TABLE(TABLES) -> /* unlocks */
       holder[stores[c].to[0] - TABLE(0)] = 0
    :: else
    fi;
    memory[stores[c].to[0]] = stores[c].value[0];
    k = 1;
    do
    :: k < DEPTH ->
       stores[c].to[k - 1] = stores[c].to[k];
       stores[c].value[k - 1] = stores[c].value[k];
       k++
    :: else -> break
    od;
    stores[c].to[DEPTH - 1] = 0;
    stores[c].value[DEPTH - 1] = 0;
    stores[c].n--;
    k = 0
  }
}
active proctype store_buffers() {
  byte k;
end:
  do
  :: drain_one(0)
  :: drain_one(1)
#if CPUS > 2
  :: drain_one(2)
#endif
#if CPUS > 3
  :: drain_one(3)
#endif
  od
}

#define mine(w) ((kind_of(w) == biased || kind_of(w) == locked) && cpu_of(w) == me)

/* Stores what was changed, unlocks, lowers: into the store buffer, so that it is one step with what comes before. */
inline end_phase() {
  k = 0;
#ifdef LOWER_BEFORE_DATA
  store(PHASE(me), 0);
#endif
  do
  :: k < TABLES ->
     if
     :: holder[k] == me + 1 ->
#ifdef WITH_DATA
        store(DATA(k), 1 - seen[k]);
        truth[k] = 1 - truth[k];
        seen[k] = 0;
#endif
        load(x, TABLE(k));
        if
        :: kind_of(x) == locked && cpu_of(x) == me -> store(TABLE(k), word(shared, 0))
        :: else
        fi;
        x = 0
     :: else
     fi;
     k++
  :: else -> break
  od;
  k = 0;
#ifndef LOWER_BEFORE_DATA
  store(PHASE(me), 0)
#endif
}

/* Reads the phase of cpu d. If it is odd, awaited[me] becomes moved_on when it has changed. */
inline await(d) {
  atomic {
    if
#ifndef PHASE_UNAWAITED
    :: memory[PHASE(d)] == 1 -> awaited[me] = d + 1
    :: else -> awaited[me] = moved_on
#else
    :: true -> awaited[me] = moved_on
#endif
    fi
  }
}

inline start_over() {
  at[me] = 0;
  w[me] = 0;
  awaited[me] = 0;
#ifdef WAIT_INSIDE
  end_phase();
#endif
  goto raise
}

proctype cpu(byte me) {
  byte i, k, x;
#ifdef WITH_DATA
  bit seen[TABLES];
#endif
idle:
  if
  :: goto done
  :: true
  :: me >= CPUS - EXCLUSIVE -> goto exclusive
  fi;
raise:
#ifdef NO_FENCE_RAISE
  store(PHASE(me), 1);
#else
  atomic { in_order -> memory[PHASE(me)] = 1 } /* a store and a fence, with nothing in between */
#endif
#ifndef CLOSED_IGNORED
  atomic {
    load(x, CLOSED);
    if
    :: x != 0 ->
       x = 0;
       store(PHASE(me), 0);
       goto closed
    :: else
    fi
  }
#endif
  if
  :: at[me] = 0
#if TABLES > 1
  :: at[me] = 1
#endif
  fi;
take:
  atomic {
    load(x, TABLE(at[me]));
    if
    :: mine(x)
    :: !mine(x) && kind_of(x) == biased && in_order ->
       w[me] = word(revoking, cpu_of(x));
       memory[TABLE(at[me])] = w[me];
       x = 0;
       goto idle_bias
    :: !mine(x) && kind_of(x) != fresh && kind_of(x) != shared ->
       x = 0;
#ifndef WAIT_INSIDE
       end_phase();
#endif
       goto contended
    :: (kind_of(x) == fresh || kind_of(x) == shared) && !in_order -> x = 0; goto take
    :: kind_of(x) == fresh && in_order -> memory[TABLE(at[me])] = word(biased, me)
    :: kind_of(x) == shared && in_order -> memory[TABLE(at[me])] = word(locked, me)
    :: kind_of(x) == shared && in_order && me < REBIAS ->
       memory[TABLE(at[me])] = word(biased, me);
#ifndef NO_TAG
       do
       :: i < CPUS ->
          if
          :: at[i] == at[me] && kind_of(w[i]) == revoking -> w[i] = outdated
          :: else
          fi;
          i++
       :: else -> break
       od;
       i = 0
#endif
    fi;
    x = 0;
    assert(holder[at[me]] == 0 || holder[at[me]] == me + 1);
    holder[at[me]] = me + 1;
#ifdef WITH_DATA
    load(x, DATA(at[me]));
    assert(x == truth[at[me]]);
    seen[at[me]] = x;
    x = 0;
#endif
    if
#if TABLES > 1
    :: holder[1 - at[me]] != me + 1 && me < PAIRS -> at[me] = 1 - at[me]; goto take
#endif
    :: at[me] = 0; end_phase(); goto idle
    fi
  }
idle_bias: /* in its phase: has marked the word, goes on if its owner is in no phase */
  atomic {
#ifndef IDLE_UNCHECKED
    if
    :: memory[PHASE(cpu_of(w[me]))] == 1 ->
       w[me] = 0;
#ifndef WAIT_INSIDE
       end_phase();
#endif
       goto contended
    :: else
    fi
#else
    skip
#endif
  }
  atomic {
    in_order ->
    if
    :: memory[TABLE(at[me])] == w[me] -> memory[TABLE(at[me])] = word(shared, 0)
    :: else
    fi;
    w[me] = 0;
    goto take
  }
contended: /* outside, holding nothing */
#ifdef PHASE_READ_FIRST
  atomic {
    if
    :: kind_of(memory[TABLE(at[me])]) == biased -> await(cpu_of(memory[TABLE(at[me])]))
    :: else -> awaited[me] = moved_on
    fi
  }
#endif
  atomic {
    if
    :: in_order && kind_of(memory[TABLE(at[me])]) == biased && cpu_of(memory[TABLE(at[me])]) != me ->
       w[me] = word(revoking, cpu_of(memory[TABLE(at[me])]));
       memory[TABLE(at[me])] = w[me]
    :: kind_of(memory[TABLE(at[me])]) == revoking && cpu_of(memory[TABLE(at[me])]) != me ->
       w[me] = memory[TABLE(at[me])]
    :: in_order && memory[TABLE(at[me])] == word(revoking, me) ->
       memory[TABLE(at[me])] = word(shared, 0);
       start_over()
    :: kind_of(memory[TABLE(at[me])]) == locked ->
       w[me] = memory[TABLE(at[me])];
       goto wait_unlocked
    :: kind_of(memory[TABLE(at[me])]) == shared || memory[TABLE(at[me])] == word(biased, me) -> start_over()
    fi
  }
#ifndef PHASE_READ_FIRST
  await(cpu_of(w[me]));
#endif
  atomic {
    in_order && awaited[me] == moved_on ->
    if
    :: memory[TABLE(at[me])] == w[me] -> memory[TABLE(at[me])] = word(shared, 0)
    :: else /* another was faster, and the word may have a new tag */
    fi;
    start_over()
  }
wait_unlocked:
  atomic { memory[TABLE(at[me])] != w[me] -> start_over() }
closed:
  memory[CLOSED] == 0;
  goto raise;
exclusive:
  atomic {
    in_order && mutex == 0 ->
    mutex = 1;
#ifdef NO_FENCE_CLOSE
    store(CLOSED, me + 1)
#else
    memory[CLOSED] = me + 1 /* a store and a fence */
#endif
  }
  atomic {
    do
    :: x < CPUS && x != me ->
       await(x);
       awaited[me] == moved_on;
       x++
    :: x == me -> x++
    :: x == CPUS -> break
    od;
    awaited[me] = 0;
    x = 0;
    do /* alone */
    :: k < TABLES ->
       assert(holder[k] == 0);
#ifdef WITH_DATA
       load(x, DATA(k));
       assert(x == truth[k]);
       store(DATA(k), 1 - x);
       truth[k] = 1 - truth[k];
       x = 0;
#endif
       k++
    :: else -> break
    od;
    k = 0;
    store(CLOSED, 0)
  }
  atomic { in_order -> mutex = 0 }; /* its release; stores leave in order */
  goto idle;
done:
  skip
}

init {
  atomic {
    run cpu(0);
    run cpu(1);
#if CPUS > 2
    run cpu(2);
#endif
#if CPUS > 3
    run cpu(3)
#endif
  }
}
