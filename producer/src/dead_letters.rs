//! Dead letters: the jobs that need a person. They are looked at, published again once their cause
//! is gone, or given up.

mod choose;
mod deed;
mod discard;
mod letter;
mod look;
mod message;
mod named;
mod queue;
mod requeue;
mod shown;

pub(crate) use choose::{Filter, choose};
pub(crate) use deed::{Dealt, Looked, carry_out, look, states};
pub(crate) use discard::{discard, goes_on};
pub(crate) use letter::DeadLetter;
pub(crate) use look::{LOCK, dead_run, read};
pub(crate) use message::Keep;
pub(crate) use named::{Fate, Named, Sorted, sort};
pub(crate) use queue::HeldLetters;
pub(crate) use requeue::{Paused, Requeue, is_bad, once_each, paused, projects, requeue};
pub(crate) use shown::{Shown, marks, of_ids};
