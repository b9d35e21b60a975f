# A guest whose memory can be checked: it fills what it has with a pattern, and then computes the
# sum of all of it again and again, round after round, and says so on the first serial port:
#
#   filled
#   sum 0123abcd round 00000000
#
# The sum never changes. The round does: it tells that the guest goes on where it was, and does not
# begin anew. It is stored in a page of its own at the end of each round, and read from there.
#
# Made by `as --32` and `ld -m elf_i386 -Ttext=0x100000`; started by `qemu -kernel`, as a multiboot
# kernel: protected mode, flat segments, no paging.

        .code32
        .set    FIRST, 0x200000         # above the program
        .set    END, 0x3e00000          # below what firmware keeps of 64 MiB
        .set    ROUND, 0x1f0000         # the page of the round
        .set    STACK, 0x1e0000
        .set    PORT, 0x3f8

        .text
        .globl  _start
        .align  4
        .long   0x1badb002, 0, -0x1badb002

_start: cli
        mov     $STACK, %esp
        movl    $0, ROUND
        mov     $FIRST, %edi
fill:   imul    $0x9e3779b1, %edi, %eax
        mov     %eax, (%edi)
        add     $4, %edi
        cmp     $END, %edi
        jb      fill
        mov     $filled, %esi
        call    print

round:  xor     %ebp, %ebp
        mov     $FIRST, %edi
sum:    rol     $1, %ebp
        add     (%edi), %ebp
        add     $4, %edi
        cmp     $END, %edi
        jb      sum
        mov     $is_sum, %esi
        call    print
        mov     %ebp, %ebx
        call    hex
        mov     $in_round, %esi
        call    print
        mov     ROUND, %ebx
        call    hex
        mov     $newline, %esi
        call    print
        incl    ROUND
        jmp     round

# Prints the text at ESI, which ends with a zero.
print:  lodsb
        test    %al, %al
        jz      done
        call    put
        jmp     print

# Prints EBX in hexadecimal.
hex:    mov     $8, %ecx
digit:  rol     $4, %ebx
        mov     %bl, %al
        and     $15, %al
        add     $'0', %al
        cmp     $'9', %al
        jbe     plain
        add     $('a' - '0' - 10), %al
plain:  call    put
        loop    digit
done:   ret

# Prints AL, once the port is ready.
put:    mov     %al, %ah
        mov     $(PORT + 5), %dx
busy:   in      %dx, %al
        test    $0x20, %al
        jz      busy
        mov     %ah, %al
        mov     $PORT, %dx
        out     %al, %dx
        ret

filled:         .asciz "filled\n"
is_sum:         .asciz "sum "
in_round:       .asciz " round "
newline:        .asciz "\n"
