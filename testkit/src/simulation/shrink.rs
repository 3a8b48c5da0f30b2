//! Fewer steps that still fail.

use super::Step;

/// Leaves out smaller and smaller parts of the steps as long as the rest still fails. `fails` is
/// called at most `tries` times. A failure that depends on chance may not show each time; then
/// fewer steps are left out.
pub async fn shrink(steps: &[Step], mut tries: usize, mut fails: impl AsyncFnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut smallest = steps.to_vec();
    let mut part = smallest.len().div_ceil(2);
    while part > 0 && tries > 0 {
        let mut at = 0;
        let mut shrank = false;
        while at < smallest.len() && tries > 0 {
            let mut candidate = smallest.clone();
            candidate.drain(at..(at + part).min(smallest.len()));
            tries -= 1;
            if !candidate.is_empty() && fails(&candidate).await {
                smallest = candidate;
                shrank = true;
            } else {
                at += part;
            }
        }
        part = if part == 1 && !shrank {
            0
        } else {
            (part / 2).max(usize::from(part > 1 || shrank))
        };
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::generate;

    #[tokio::test]
    async fn only_what_is_needed_is_left() {
        let mut steps = generate(3, 100);
        steps.insert(40, Step::KillRabbitmq);
        steps.push(Step::Stop(2));
        let fails = async |steps: &[Step]| {
            let killed = steps.iter().position(|step| *step == Step::KillRabbitmq);
            let stopped = steps.iter().rposition(|step| *step == Step::Stop(2));
            killed.zip(stopped).is_some_and(|(killed, stopped)| killed < stopped)
        };
        assert_eq!(shrink(&steps, 10_000, fails).await, [Step::KillRabbitmq, Step::Stop(2)]);
    }

    #[tokio::test]
    async fn it_ends_after_so_many_tries() {
        let mut asked = 0;
        let steps = generate(3, 50);
        let smallest = shrink(&steps, 5, async |_: &[Step]| {
            asked += 1;
            false
        })
        .await;
        assert_eq!((asked, smallest), (5, steps));
    }
}
