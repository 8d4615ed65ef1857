/* The floor of bring-up: `spawn_loop N PROGRAM ARG…` starts N of them, and ends them when its stdin does. */
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    int count = argc > 2 ? atoi(argv[1]) : 0;
    pid_t *pids = calloc((size_t)count + 1, sizeof *pids);
    char byte;
    if (pids == NULL)
        return 1;
    for (int i = 0; i < count; i++)
        if (posix_spawnp(&pids[i], argv[2], NULL, NULL, argv + 2, environ) != 0)
            return 1;
    while (read(0, &byte, 1) > 0)
        ;
    for (int i = 0; i < count; i++)
        kill(pids[i], SIGKILL);
    while (wait(NULL) > 0)
        ;
    return 0;
}
