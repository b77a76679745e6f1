/* Memory that control groups leave, on machines that are made up.
   Rests on support/fake_root.h. */
#include "base/memory.h"
#include "support/fake_root.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const int64_t MIB = 1 << 20;

static void machine_of(const char *name)
{
    fake_machine(name);
    fake_file("MemTotal:  9000000 kB\nMemFree:  100000 kB\nMemAvailable:  8388608 kB\n", "proc/meminfo"); /* 8 GiB */
}

static int64_t left(void)
{
    return memory_available_in(fake_root()) / MIB;
}

static void without_groups_all_that_is_available_is_left(void **state)
{
    (void)state;
    machine_of("plain");
    assert_int_equal(left(), 8192);
    fake_machine("empty");
    assert_int_equal(memory_available_in(fake_root()), INT64_MAX); /* nothing is known */
}

static void a_limit_of_version_2_counts(void **state)
{
    (void)state;
    machine_of("v2");
    fake_group(NULL, "/", "/sys/fs/cgroup", "/box/job");
    fake_groups_done();
    fake_file("max\n", "sys/fs/cgroup/box/job/memory.max");
    fake_file("104857600\n", "sys/fs/cgroup/box/job/memory.current");
    assert_int_equal(left(), 8192);
    fake_file("1073741824\n", "sys/fs/cgroup/box/job/memory.max");
    assert_int_equal(left(), 1024 - 100);
    fake_file("anon 4096\nactive_file 20971520\ninactive_file 10485760\nfile 99999999\n", "sys/fs/cgroup/box/job/memory.stat");
    assert_int_equal(left(), 1024 - 100 + 30); /* page cache makes way */
    fake_file("536870912\n", "sys/fs/cgroup/box/memory.max");
    fake_file("536870912\n", "sys/fs/cgroup/box/memory.current");
    assert_int_equal(left(), 0); /* the group around it is full */
}

static void a_limit_of_version_1_counts(void **state)
{
    (void)state;
    machine_of("v1");
    fake_group("cpu", "/", "/sys/fs/cgroup/cpu", "/box");
    fake_group("memory", "/", "/sys/fs/cgroup/memory", "/box");
    fake_group(NULL, "/", "/sys/fs/cgroup/unified", "/box");
    fake_groups_done();
    fake_file("9223372036854771712\n", "sys/fs/cgroup/memory/box/memory.limit_in_bytes"); /* which is none */
    fake_file("104857600\n", "sys/fs/cgroup/memory/box/memory.usage_in_bytes");
    assert_int_equal(left(), 8192);
    fake_file("2147483648\n", "sys/fs/cgroup/memory/box/memory.limit_in_bytes");
    assert_int_equal(left(), 2048 - 100);
    fake_file("active_file 1048576\ntotal_active_file 20971520\ntotal_inactive_file 10485760\n",
              "sys/fs/cgroup/memory/box/memory.stat");
    assert_int_equal(left(), 2048 - 100 + 30); /* of the groups inside it as well */
    fake_file("1073741824\n", "sys/fs/cgroup/memory/memory.limit_in_bytes");
    fake_file("1048576\n", "sys/fs/cgroup/memory/memory.usage_in_bytes");
    assert_int_equal(left(), 1023);
}

static void a_container_of_version_1_sees_its_own_limit(void **state)
{
    (void)state;
    machine_of("container");
    fake_group("memory", "/docker/1", "/sys/fs/cgroup/memory", "/docker/1");
    fake_groups_done();
    fake_file("268435456\n", "sys/fs/cgroup/memory/memory.limit_in_bytes");
    fake_file("67108864\n", "sys/fs/cgroup/memory/memory.usage_in_bytes");
    assert_int_equal(left(), 256 - 64);
}

static void this_machine_has_some(void **state)
{
    (void)state;
    assert_true(memory_available() > 0 && memory_available() < INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_groups_all_that_is_available_is_left),
        cmocka_unit_test(a_limit_of_version_2_counts),
        cmocka_unit_test(a_limit_of_version_1_counts),
        cmocka_unit_test(a_container_of_version_1_sees_its_own_limit),
        cmocka_unit_test(this_machine_has_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
