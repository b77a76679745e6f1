/* Where a user's files lie that the program keeps between runs, as the XDG base directory specification has it.
   Rests on the environment. */
#ifndef CLI_FOLDERS_H
#define CLI_FOLDERS_H

/* "FOLDER/lariat/NAME", allocated, its folders made (readable by their owner only); NULL where there is no home to put it in.
   The folder is $variable, or $HOME/otherwise. */
char *user_file(const char *variable, const char *otherwise, const char *name);

#endif
