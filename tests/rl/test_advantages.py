import numpy as np

from mobile_r1_jax.rl import group_advantages


def restated(rewards: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the formula, group by group, in NumPy."""
    advantages = np.zeros(rewards.shape)
    informative = np.zeros(len(rewards), bool)
    for group, (r, c) in enumerate(zip(rewards, counted, strict=True)):
        members = r[c].astype(np.float64)
        if len(members) >= 2 and np.ptp(members) > 1e-6:
            informative[group] = True
            advantages[group, c] = (members - members.mean()) / (members.std(ddof=1) + 1e-4)
    return advantages, informative


def test_advantages_equal_the_formula_over_the_counted_members_only() -> None:
    rng = np.random.default_rng(0)
    rewards = rng.choice([0.0, 0.25, 0.5, 1.0, 2.0], size=(40, 4)).astype(np.float32)
    counted = rng.random((40, 4)) > 0.3
    advantages, informative = group_advantages(rewards, counted)
    expected, expected_informative = restated(rewards, counted)
    np.testing.assert_allclose(advantages, expected, atol=1e-5)
    np.testing.assert_array_equal(informative, expected_informative)
    assert 0 < expected_informative.sum() < 40


def test_advantages_without_standardization_are_rewards_minus_the_group_mean() -> None:
    rewards = np.array([[1.0, 0.5, 0.0, 9.0], [2.0, 2.0, 2.0, 2.0]], np.float32)
    counted = np.array([[True, True, True, False], [True] * 4])
    advantages, informative = group_advantages(rewards, counted, standardize=False)
    np.testing.assert_allclose(advantages, [[0.5, 0.0, -0.5, 0.0], [0.0] * 4])
    assert informative.tolist() == [True, False]


def test_groups_without_two_counted_members_or_variance_have_zero_advantage() -> None:
    rewards = np.array([[0.1, 0.1, 0.1], [1, 0, 5], [1, 2, 3], [0.7, 0.7, 9]], np.float32)
    counted = np.array([[1, 1, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]], bool)
    advantages, informative = group_advantages(rewards, counted)
    np.testing.assert_array_equal(advantages, 0)
    assert not informative.any()


def test_uncounted_member_has_no_effect_for_any_reward() -> None:
    with_nan, _ = group_advantages(np.array([[1.0, np.nan, 0.0]], np.float32), np.array([[True, False, True]]))
    without, _ = group_advantages(np.array([[1.0, 0.0]], np.float32), np.array([[True, True]]))
    np.testing.assert_array_equal(with_nan, [[without[0, 0], 0, without[0, 1]]])
